//! Where a daemon listens: a unix socket, or TCP on this machine.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest path of a unix socket, in bytes: `sun_path` holds 108 with the closing zero.
pub const LONGEST_SOCKET_PATH: usize = 107;

/// An address of this machine, written `unix:/path/to/socket` or `tcp:127.0.0.1:7401`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A socket file. Its folder belongs to one user, mode 0700.
    Unix(PathBuf),
    /// A loopback address; port 0 lets the system choose.
    Tcp(SocketAddr),
}

/// A text that is no endpoint.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Neither `unix:` nor `tcp:`.
    #[error("`{0}` is no endpoint; write `unix:/path/to/socket` or `tcp:127.0.0.1:7401`")]
    Form(String),
    /// The part after `tcp:` is no address.
    #[error("`{0}` is no address with port; write e.g. `tcp:127.0.0.1:7401`")]
    Address(String),
    /// Reachable from other machines, without encryption.
    #[error(
        "`{0}` is not a loopback address; daemons listen on this machine only, use 127.0.0.1 or [::1]"
    )]
    NotLoopback(SocketAddr),
    /// `sun_path` does not hold it.
    #[error("socket path `{}` has {length} bytes, the system allows {LONGEST_SOCKET_PATH}; use a shorter folder", path.display())]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
}

impl Endpoint {
    /// Whether this endpoint can exist.
    ///
    /// # Errors
    /// A socket path over [`LONGEST_SOCKET_PATH`] bytes; an address that is not loopback.
    pub fn check(&self) -> Result<(), EndpointError> {
        match self {
            Self::Unix(path) => check_path(path.clone()),
            Self::Tcp(address) if address.ip().is_loopback() => Ok(()),
            Self::Tcp(address) => Err(EndpointError::NotLoopback(*address)),
        }
    }
}

fn check_path(path: PathBuf) -> Result<(), EndpointError> {
    match path.as_os_str().len() {
        0 => Err(EndpointError::Form("unix:".to_owned())),
        1..=LONGEST_SOCKET_PATH => Ok(()),
        length => Err(EndpointError::PathTooLong { path, length }),
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let endpoint = match text.split_once(':') {
            Some(("unix", path)) => Self::Unix(path.into()),
            Some(("tcp", address)) => Self::Tcp(parse_address(address)?),
            _ => return Err(EndpointError::Form(text.to_owned())),
        };
        endpoint.check().map(|()| endpoint)
    }
}

fn parse_address(text: &str) -> Result<SocketAddr, EndpointError> {
    text.parse().map_err(|_| EndpointError::Address(text.to_owned()))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_round_trip() {
        for text in ["unix:/run/seal/teacher.sock", "tcp:127.0.0.1:7401", "tcp:[::1]:0"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn only_this_machine_can_be_named() {
        for far in ["tcp:0.0.0.0:80", "tcp:192.168.0.1:80", "tcp:[::]:80"] {
            let error = far.parse::<Endpoint>().unwrap_err();
            assert!(matches!(error, EndpointError::NotLoopback(_)), "{far}");
        }
        for odd in ["", "unix", "unix:", "tcp:", "tcp:localhost", "http:127.0.0.1:80"] {
            assert!(odd.parse::<Endpoint>().is_err(), "{odd}");
        }
    }

    #[test]
    fn a_socket_path_that_the_system_cannot_hold_is_explained() {
        let longest = format!("unix:/{}", "a".repeat(106));
        assert!(longest.parse::<Endpoint>().is_ok());
        let error = format!("{longest}a").parse::<Endpoint>().unwrap_err().to_string();
        assert!(
            error.contains("has 108 bytes, the system allows 107; use a shorter folder"),
            "{error}"
        );
    }
}
