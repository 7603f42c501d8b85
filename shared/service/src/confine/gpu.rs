//! What NVIDIA's driver and CUDA's libraries touch in a process that computes on a GPU.
//!
//! A driver reached through `ioctl` is a larger piece of kernel than files are, so these paths are
//! open only to a role whose config asks for a GPU. What this list says was gathered from how the
//! driver is documented; it was not yet tried on a GPU.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// What the driver reports about itself and the machine, and where libraries lie. None of it is
/// secret; what is absent on a system is left out.
const READ: [&str; 16] = [
    "/etc/ld.so.cache",
    "/lib",
    "/lib64",
    "/opt/cuda",
    "/proc/devices",
    "/proc/driver/nvidia",
    "/proc/driver/nvidia-uvm",
    "/proc/modules",
    "/proc/sys/vm/mmap_min_addr",
    "/sys/bus/pci",
    "/sys/devices",
    "/sys/module",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/cuda",
    "/usr/local/nvidia",
];

/// Paths to open to a process that may use a GPU.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct GpuPaths {
    /// Device files: read, write, `ioctl`.
    pub(super) devices: Vec<PathBuf>,
    /// To read.
    pub(super) read: Vec<PathBuf>,
    /// Where the driver keeps the kernels it compiled.
    pub(super) cache: Option<PathBuf>,
}

impl GpuPaths {
    /// Those of this system.
    pub(super) fn of_system() -> Self {
        let names = |folder: &Path| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect()
        };
        Self::new(&names(Path::new("/dev")), |name| std::env::var_os(name))
    }

    /// Those of a system with the device files `dev` and these environment variables.
    fn new<S: AsRef<OsStr>>(dev: &[PathBuf], variable: impl Fn(&str) -> Option<S>) -> Self {
        let set = |name| variable(name).filter(|value| !value.as_ref().is_empty());
        let is_nvidia = |path: &&PathBuf| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"nvidia"))
        };
        let mut devices: Vec<PathBuf> = dev.iter().filter(is_nvidia).cloned().collect();
        devices.sort();
        let libraries = set("LD_LIBRARY_PATH");
        let libraries = libraries.iter().flat_map(|value| std::env::split_paths(value));
        // An empty entry would be the working folder.
        let libraries = libraries.filter(|path| path.is_absolute());
        let own = set("CUDA_CACHE_PATH").map(|path| PathBuf::from(path.as_ref()));
        let home = || set("HOME").map(|home| Path::new(&home).join(".nv/ComputeCache"));
        Self {
            devices,
            read: READ.iter().map(PathBuf::from).chain(libraries).collect(),
            cache: own.or_else(home),
        }
    }

    /// Creates the cache, which a confined process could not. Without one the driver compiles its
    /// kernels in every process again, which is slow and nothing else.
    pub(super) fn prepare(&mut self) {
        if let Some(cache) = &self.cache
            && let Err(error) = std::fs::create_dir_all(cache)
        {
            tracing::warn!("no cache of GPU kernels at `{}`: {error}", cache.display());
            self.cache = None;
        }
    }

    /// Every path, for the check that none of them holds a secret.
    pub(super) fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.devices.iter().chain(&self.read).chain(&self.cache)
    }
}

/// `path` without links, or nothing if it is not there.
pub(super) fn real(path: &Path) -> io::Result<Option<PathBuf>> {
    match path.canonicalize() {
        Ok(real) => Ok(Some(real)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn paths(dev: &[&str], environment: &[(&str, &str)]) -> GpuPaths {
        let dev: Vec<PathBuf> = dev.iter().map(PathBuf::from).collect();
        GpuPaths::new(&dev, |name| {
            let found = environment.iter().find(|(known, _)| *known == name)?;
            Some(OsString::from(found.1))
        })
    }

    #[test]
    fn device_files_of_the_driver_alone_are_opened() {
        let dev = ["/dev/sda", "/dev/nvidiactl", "/dev/mem", "/dev/nvidia0", "/dev/nvidia-uvm"];
        let found = paths(&dev, &[]);
        let expected = ["/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidiactl"];
        assert_eq!(found.devices, expected.map(PathBuf::from));
        assert_eq!(found.cache, None);
    }

    #[test]
    fn the_environment_names_libraries_and_the_cache() {
        let home = [("HOME", "/home/a"), ("LD_LIBRARY_PATH", "/x/lib:relative::/y")];
        let found = paths(&[], &home);
        assert_eq!(found.cache.as_deref(), Some(Path::new("/home/a/.nv/ComputeCache")));
        assert_eq!(found.read[READ.len()..], ["/x/lib", "/y"].map(PathBuf::from));
        let named = paths(&[], &[("HOME", "/home/a"), ("CUDA_CACHE_PATH", "/c")]);
        assert_eq!(named.cache.as_deref(), Some(Path::new("/c")));
    }
}
