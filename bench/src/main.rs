//! Load generator and side-by-side measurements for Trinity Beast.

fn main() {}
