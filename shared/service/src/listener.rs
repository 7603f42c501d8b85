//! Taking an endpoint, before confinement: afterwards no socket can be made any more.
//!
//! **Invariant:** a socket file is replaced only under a lock and when nobody answers on it, so two
//! daemons never believe that they own the same path.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::endpoint::{Endpoint, EndpointError, HostPort};
use crate::store::private_folder;

/// A bound endpoint on which nobody is served yet.
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: Socket,
    /// Held as long as the process lives; the system lets go of it at any end.
    pub(crate) lock: Option<File>,
}

#[derive(Debug)]
pub(crate) enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
    Tls(TcpListener, HostPort),
}

/// Why an endpoint could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// It cannot exist.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Another process listens there.
    #[error(
        "`{endpoint}` is in use; stop the process that listens there (see `ss -lpn`) or give this daemon another endpoint"
    )]
    InUse {
        /// Where.
        endpoint: Endpoint,
    },
    /// Others could reach the socket.
    #[error("the socket folder `{}` is open to other users (mode {mode:03o}); run `chmod 700` on it or use another folder", folder.display())]
    FolderOpen {
        /// The folder.
        folder: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Something else lies at the path.
    #[error("`{}` exists and is no socket; move it away or use another path", path.display())]
    NotASocket {
        /// What lies there.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot listen on `{endpoint}`; {}", mend(endpoint))]
    Refused {
        /// Where.
        endpoint: Endpoint,
        /// The system's reason.
        source: io::Error,
    },
}

/// Binds and listens.
///
/// # Errors
/// The endpoint is in use, cannot exist, or lies in a folder that others can enter.
pub fn bind(endpoint: &Endpoint) -> Result<Listener, BindError> {
    endpoint.check()?;
    let refused = |source| refused(endpoint, source);
    match endpoint {
        Endpoint::Tcp(address) => {
            let socket = TcpListener::bind(address).map_err(refused)?;
            Ok(Listener { socket: Socket::Tcp(socket), lock: None })
        }
        // A name is looked up here, while that is still possible.
        Endpoint::Tls(at) => {
            let socket = TcpListener::bind((at.host(), at.port())).map_err(refused)?;
            Ok(Listener { socket: Socket::Tls(socket, at.clone()), lock: None })
        }
        Endpoint::Unix(path) => bind_unix(endpoint, path),
    }
}

impl Listener {
    /// The endpoint as bound: with the port that the system chose for port 0.
    ///
    /// # Errors
    /// Any refusal of the system.
    pub fn endpoint(&self) -> io::Result<Endpoint> {
        match &self.socket {
            Socket::Tcp(socket) => Ok(Endpoint::Tcp(socket.local_addr()?)),
            Socket::Tls(socket, at) => Ok(Endpoint::Tls(at.with_port(socket.local_addr()?.port()))),
            Socket::Unix(socket) => {
                let address = socket.local_addr()?;
                let path = address.as_pathname().unwrap_or(Path::new(""));
                Ok(Endpoint::Unix(path.to_path_buf()))
            }
        }
    }
}

fn bind_unix(endpoint: &Endpoint, path: &Path) -> Result<Listener, BindError> {
    let refused = |source| refused(endpoint, source);
    own_folder(endpoint, path)?;
    let lock = lock_beside(endpoint, path)?;
    remove_stale(endpoint, path)?;
    let socket = UnixListener::bind(path).map_err(refused)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).map_err(refused)?;
    Ok(Listener { socket: Socket::Unix(socket), lock: Some(lock) })
}

fn own_folder(endpoint: &Endpoint, path: &Path) -> Result<(), BindError> {
    let refused = |source| refused(endpoint, source);
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    private_folder(folder).map_err(refused)?;
    let mode = std::fs::metadata(folder).map_err(refused)?.permissions().mode() & 0o777;
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(BindError::FolderOpen { folder: folder.to_path_buf(), mode }),
    }
}

/// The lock decides between daemons that start at the same moment.
fn lock_beside(endpoint: &Endpoint, path: &Path) -> Result<File, BindError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let lock = options.open(name).map_err(|source| refused(endpoint, source))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(in_use(endpoint)),
        Err(TryLockError::Error(source)) => Err(refused(endpoint, source)),
    }
}

fn remove_stale(endpoint: &Endpoint, path: &Path) -> Result<(), BindError> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(there) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !there.file_type().is_socket() {
        return Err(BindError::NotASocket { path: path.to_path_buf() });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|source| refused(endpoint, source))
        }
        _ => Err(in_use(endpoint)),
    }
}

fn mend(endpoint: &Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Unix(_) => "check that its folder exists and is writable",
        Endpoint::Tcp(_) => "take a port from 1024 on that is free",
        Endpoint::Tls(_) => "name an address of this machine, and a port from 1024 on that is free",
    }
}

fn in_use(endpoint: &Endpoint) -> BindError {
    BindError::InUse { endpoint: endpoint.clone() }
}

fn refused(endpoint: &Endpoint, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::AddrInUse => in_use(endpoint),
        _ => BindError::Refused { endpoint: endpoint.clone(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket_in(folder: &tempfile::TempDir) -> Endpoint {
        Endpoint::Unix(folder.path().join("run/daemon.sock"))
    }

    /// A folder as the first check wants it.
    fn private(folder: &tempfile::TempDir) -> PathBuf {
        let path = folder.path().join("run");
        private_folder(&path).unwrap();
        path
    }

    #[test]
    fn the_socket_and_its_folder_belong_to_one_user() {
        let folder = tempfile::tempdir().unwrap();
        let listener = bind(&socket_in(&folder)).unwrap();
        assert_eq!(listener.endpoint().unwrap(), socket_in(&folder));
        let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder.path().join("run")), 0o700);
        assert_eq!(mode(folder.path().join("run/daemon.sock")), 0o600);
    }

    #[test]
    fn a_socket_in_use_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = socket_in(&folder);
        let _first = bind(&endpoint).unwrap();
        let error = bind(&endpoint).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }));
        assert_eq!(
            error.to_string(),
            format!(
                "`{endpoint}` is in use; stop the process that listens there (see `ss -lpn`) or give this daemon another endpoint"
            )
        );
        assert!(UnixStream::connect(folder.path().join("run/daemon.sock")).is_ok());
    }

    #[test]
    fn a_socket_of_a_program_that_takes_no_lock_is_in_use_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = private(&folder).join("other.sock");
        let _other = UnixListener::bind(&path).unwrap();
        assert!(matches!(bind(&Endpoint::Unix(path)), Err(BindError::InUse { .. })));
    }

    #[test]
    fn a_socket_file_left_by_a_dead_process_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = socket_in(&folder);
        drop(bind(&endpoint).unwrap());
        assert!(folder.path().join("run/daemon.sock").exists());
        bind(&endpoint).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_never_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = private(&folder).join("notes.txt");
        std::fs::write(&path, b"mine").unwrap();
        let error = bind(&Endpoint::Unix(path.clone())).unwrap_err();
        assert!(matches!(error, BindError::NotASocket { .. }));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn a_folder_that_others_can_enter_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let error = bind(&Endpoint::Unix(folder.path().join("a.sock"))).unwrap_err();
        assert!(error.to_string().contains("(mode 755); run `chmod 700` on it"), "{error}");
    }

    #[test]
    fn a_tcp_port_in_use_is_named() {
        let first = bind(&"tcp:127.0.0.1:0".parse().unwrap()).unwrap();
        let taken = first.endpoint().unwrap();
        assert!(matches!(bind(&taken), Err(BindError::InUse { .. })));
    }
}
