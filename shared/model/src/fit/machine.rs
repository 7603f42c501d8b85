//! The memory that this process may still take.

use std::fs;
use std::path::{Path, PathBuf};

const CGROUPS: &str = "/sys/fs/cgroup";

/// Bytes that are available: the machine's, or what the limit of a control group leaves of them.
/// `None` if the system does not say.
#[must_use]
pub fn available_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    machine.into_iter().chain(control_groups()).min()
}

/// `MemAvailable` of `/proc/meminfo`.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// What each limit above this process leaves.
fn control_groups() -> Vec<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    folders(&own).iter().filter_map(|folder| left(folder)).collect()
}

/// The control groups of this process with all above them, in either version's place.
fn folders(own: &str) -> Vec<PathBuf> {
    let mut folders = vec![Path::new(CGROUPS).to_path_buf()];
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let root = match controllers {
            "" => Path::new(CGROUPS).to_path_buf(),
            named if named.split(',').any(|name| name == "memory") => {
                Path::new(CGROUPS).join("memory")
            }
            _ => continue,
        };
        let inside = Path::new(path.trim_start_matches('/'));
        folders.extend(inside.ancestors().map(|above| root.join(above)));
    }
    folders
}

/// The limit of one group less what it uses; memory that only caches files counts as free.
fn left(folder: &Path) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok();
    let pair = |limit, used| Some((number(limit)?, number(used)?));
    let (limit, used): (u64, u64) = pair("memory.max", "memory.current")
        .or_else(|| pair("memory.limit_in_bytes", "memory.usage_in_bytes"))?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    Some(limit.saturating_sub(used.saturating_sub(file_cache(&stat))))
}

/// Bytes of `memory.stat` that can be given back at once.
fn file_cache(stat: &str) -> u64 {
    let field = |name: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|digits| digits.trim().parse::<u64>().ok())
    };
    field("total_inactive_file").or_else(|| field("inactive_file")).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_what_is_available_in_kibibytes() {
        let text = "MemTotal:       24690000 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(available(text), Some(1 << 20));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
        assert_eq!(available("MemAvailable: many kB\n"), None);
    }

    #[test]
    fn a_group_and_every_group_above_it_may_set_a_limit() {
        let second = folders("0::/a.slice/b.scope\n");
        for path in ["/sys/fs/cgroup", "/sys/fs/cgroup/a.slice", "/sys/fs/cgroup/a.slice/b.scope"] {
            assert!(second.contains(&PathBuf::from(path)), "{path}");
        }
        let first = folders("5:cpu,cpuacct:/x\n4:memory:/docker/1\n");
        assert!(first.contains(&PathBuf::from("/sys/fs/cgroup/memory/docker")));
        assert!(!first.iter().any(|path| path.ends_with("x")));
    }

    #[test]
    fn a_limit_leaves_what_is_not_used_and_what_caches_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(left(folder.path()), None);
        write("memory.current", "700\n");
        write("memory.max", "max\n");
        assert_eq!(left(folder.path()), None, "no limit");
        write("memory.max", "1000\n");
        assert_eq!(left(folder.path()), Some(300));
        write("memory.stat", "anon 400\ninactive_file 250\n");
        assert_eq!(left(folder.path()), Some(550));
    }

    #[test]
    fn this_machine_has_some_memory() {
        assert!(available_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
