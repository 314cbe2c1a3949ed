//! Writes `protocol/vectors/` and the fuzzers' corpora anew:
//! `cargo run -p trinity-protocol --example make_vectors`.

mod cases;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let files = cases::files();
    for (path, bytes) in &files {
        let path = root.join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, bytes)?;
    }
    println!("{} files written", files.len());
    Ok(())
}
