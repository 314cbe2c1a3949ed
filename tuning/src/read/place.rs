//! Where this runs: it decides what can be changed, and how.

use super::Source;
use crate::facts::{Place, PlaceFacts};

/// ECS gives it to every container of a task.
pub(super) const ECS_METADATA: &str = "ECS_CONTAINER_METADATA_URI_V4";
/// `AWS_ECS_FARGATE` or `AWS_ECS_EC2`, from ECS as well.
pub(super) const EXECUTION: &str = "AWS_EXECUTION_ENV";
/// Some container managers set it (`podman`, `systemd-nspawn`).
pub(super) const CONTAINER: &str = "container";

/// Files that container managers leave.
const MARKS: [&str; 2] = [".dockerenv", "run/.containerenv"];

pub(super) fn read(source: &Source) -> PlaceFacts {
    let mut signs = Vec::new();
    let kernel = source.word("proc/sys/kernel/osrelease");
    let execution = source.variable(EXECUTION).unwrap_or_default();
    let ecs = source.variable(ECS_METADATA).is_some() || execution.starts_with("AWS_ECS");
    if source.variable(ECS_METADATA).is_some() {
        signs.push(format!("{ECS_METADATA} is set"));
    }
    if !execution.is_empty() {
        signs.push(format!("{EXECUTION}={execution}"));
    }
    let mut container = source.variable(CONTAINER).is_some();
    if container {
        signs.push(format!("{CONTAINER} is set"));
    }
    for mark in MARKS {
        if source.path(mark).exists() {
            container = true;
            signs.push(format!("/{mark} is there"));
        }
    }
    let vendor = source.word("sys/class/dmi/id/sys_vendor");
    let amazon = vendor.known().is_some_and(|vendor| vendor.starts_with("Amazon"));
    if let Some(vendor) = vendor.known() {
        let product = source.word("sys/class/dmi/id/product_name");
        let product = product.known().map_or("", String::as_str);
        signs.push(format!("the machine is {vendor} {product}").trim_end().to_owned());
    }
    let kind = match () {
        () if execution == "AWS_ECS_FARGATE" => Place::Fargate,
        () if execution == "AWS_ECS_EC2" => Place::EcsOnEc2,
        // ECS without its own word for it: the kernel of platform 1.4.0 and no sight of the machine.
        () if ecs && kernel.known().is_some_and(|kernel| kernel.starts_with("5.10.")) && !amazon => {
            Place::Fargate
        }
        () if ecs => Place::EcsOnEc2,
        () if container => Place::Container,
        () if amazon => Place::Ec2,
        () => Place::Host,
    };
    PlaceFacts { kernel, kind, signs }
}
