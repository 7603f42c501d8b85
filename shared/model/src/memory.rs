//! What memory is left, for copies that are worth their speed only where there is room.
//!
//! Absent: whether a model fits at all; that is asked before it is read.

use std::fs;

/// Part of the memory that such copies leave free: one in this many.
const LEFT_FREE: u64 = 4;

/// True if `bytes` more leave a quarter of the memory free. Unknown memory is none.
pub(crate) fn spares(bytes: usize) -> bool {
    let bytes = bytes as u64;
    let roomy = |(total, left): (u64, u64)| left >= bytes.saturating_add(total / LEFT_FREE);
    machine().is_some_and(roomy) && control_group().is_none_or(roomy)
}

/// Total and available memory of the machine, in bytes.
fn machine() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Some((kibibytes("MemTotal:")? << 10, kibibytes("MemAvailable:")? << 10))
}

/// Limit of a container and what is left of it, in bytes; none without a limit.
fn control_group() -> Option<(u64, u64)> {
    let number = |name: &str| {
        fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse::<u64>().ok()
    };
    let limit = number("memory.max")?;
    Some((limit, limit.saturating_sub(number("memory.current")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_larger_than_the_machine_is_not_made() {
        let total = machine().map_or(0, |(total, _)| total);
        assert!(!spares(usize::try_from(total).unwrap()));
    }
}
