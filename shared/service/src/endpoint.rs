//! Where a daemon listens: a unix socket, TCP on this machine, or TLS for other machines.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustls::pki_types::ServerName;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest path of a unix socket, in bytes: `sun_path` holds 108 with the closing zero.
pub const LONGEST_SOCKET_PATH: usize = 107;

/// An address, written `unix:/path/to/socket`, `tcp:127.0.0.1:7401` or `tls:student.internal:7401`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A socket file. Its folder belongs to one user, mode 0700.
    Unix(PathBuf),
    /// A loopback address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// Any address, by TLS 1.3 with a certificate at both ends.
    Tls(HostPort),
}

/// A host by name or address, with a port. Its certificate must name the host as it is written here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: String,
    port: u16,
}

/// A text that is no endpoint.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// None of the three.
    #[error(
        "`{0}` is no endpoint; write `unix:/path/to/socket`, `tcp:127.0.0.1:7401` or `tls:host:7401`"
    )]
    Form(String),
    /// The part after `tls:` is no host with port.
    #[error(
        "`{0}` is no host with port; write e.g. `tls:student.internal:7401`, `tls:192.0.2.7:7401` or `tls:[2001:db8::7]:7401`"
    )]
    Host(String),
    /// The part after `tcp:` is no address.
    #[error("`{0}` is no address with port; write e.g. `tcp:127.0.0.1:7401`")]
    Address(String),
    /// Reachable from other machines, without encryption.
    #[error(
        "`{0}` is not a loopback address, and `tcp:` is not encrypted; use 127.0.0.1 or [::1], or for other machines `tls:host:port`"
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
            // Checked when it was read, and there is no other way to make one.
            Self::Tls(_) => Ok(()),
        }
    }

    /// The same endpoint; the path of a socket counts from `folder`.
    #[must_use]
    pub fn under(self, folder: &Path) -> Self {
        match self {
            Self::Unix(path) => Self::Unix(folder.join(path)),
            other => other,
        }
    }

    /// Whether it is called over the network and started by somebody else.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl HostPort {
    /// Name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same host with another port.
    #[must_use]
    pub(crate) fn with_port(&self, port: u16) -> Self {
        Self { host: self.host.clone(), port }
    }
}

impl FromStr for HostPort {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let odd = || EndpointError::Host(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(odd)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        // Without brackets an IPv6 address and its port cannot be told apart.
        if bracketed.is_none() && host.contains(':') {
            return Err(odd());
        }
        let host = bracketed.unwrap_or(host).to_owned();
        ServerName::try_from(host.as_str()).map_err(|_| odd())?;
        Ok(Self { host, port: port.parse().map_err(|_| odd())? })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
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
            Some(("tls", host)) => Self::Tls(host.parse()?),
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
            Self::Tls(host) => write!(f, "tls:{host}"),
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
    fn all_forms_round_trip() {
        for text in [
            "unix:/run/seal/teacher.sock",
            "tcp:127.0.0.1:7401",
            "tcp:[::1]:0",
            "tls:student.seal.internal:7401",
            "tls:192.0.2.7:7401",
            "tls:[2001:db8::7]:7401",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_a_port() {
        for odd in [
            "tls:",
            "tls:host",
            "tls::7401",
            "tls:host:",
            "tls:host:70000",
            "tls:2001:db8::7:7401",
            "tls:a b:7401",
            "tls:host/path:7401",
            "tls:user@host:7401",
        ] {
            let error = odd.parse::<Endpoint>().unwrap_err();
            assert!(matches!(error, EndpointError::Host(_)), "{odd}: {error}");
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
