//! From the endpoint that a config names to addresses that are pinned for the life of the process.
//!
//! **Invariant:** a name is resolved once. If one of its addresses is not allowed the whole name is
//! refused: an attacker who adds an inside address to a name gains nothing by the order of answers.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use reqwest::Url;

use super::EgressConfig;
use super::address::{AddressKind, kind_of};

/// An endpoint that may be reached, with the only addresses it will be reached at.
#[derive(Clone, Debug)]
pub(crate) struct Pinned {
    /// Base of all paths, without a slash at its end.
    pub(crate) base: String,
    /// As it stands in the URL.
    pub(crate) host: String,
    /// The only port.
    pub(crate) port: u16,
    /// The only addresses.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Whether it speaks TLS.
    pub(crate) tls: bool,
}

/// Why an endpoint is not reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressRefusal {
    /// The config says so.
    #[error("`offline = true` under [egress]: nothing leaves this machine")]
    Offline,
    /// No URL of a server.
    #[error(
        "`base_url = \"{url}\"` is not usable: {reason}; write e.g. `https://api.example.org/v1`"
    )]
    Url {
        /// As written, without credentials.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// Not on the list.
    #[error(
        "host `{0}` is not in `allow_hosts` under [egress]; add it there if texts may go to it"
    )]
    NotAllowed(String),
    /// TLS is missing.
    #[error(
        "`{0}` is reached without TLS; use https, or a server on this machine with `allow_loopback = true` under [egress]"
    )]
    Plain(String),
    /// The name does not resolve.
    #[error("host `{host}` does not resolve: {reason}")]
    Unresolved {
        /// The name.
        host: String,
        /// Why.
        reason: String,
    },
    /// An address that leads inside.
    #[error("host `{host}` leads to {address}, {}", mend(*.kind))]
    Address {
        /// The name.
        host: String,
        /// One of its addresses.
        address: IpAddr,
        /// Where it leads.
        kind: AddressKind,
    },
}

fn mend(kind: AddressKind) -> &'static str {
    match kind {
        AddressKind::Loopback => "this machine: set `allow_loopback = true` under [egress]",
        AddressKind::Private => "a private network: set `allow_private = true` under [egress]",
        AddressKind::LinkLocal => "where clouds keep credentials: no setting allows that",
        AddressKind::Reserved | AddressKind::Public => "which belongs to no server",
    }
}

/// Resolves with the system's resolver. Works only before confinement.
///
/// # Errors
/// The name does not resolve.
pub(crate) fn resolve_with_system(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.collect())
}

/// Judges `base_url`, resolves its host once and pins what came out.
///
/// # Errors
/// See [`EgressRefusal`]; with `offline` nothing is even resolved.
pub(crate) fn pin(
    base_url: &str,
    rules: &EgressConfig,
    resolve: impl FnOnce(&str, u16) -> io::Result<Vec<SocketAddr>>,
) -> Result<Pinned, EgressRefusal> {
    if rules.offline {
        return Err(EgressRefusal::Offline);
    }
    let url = parse(base_url)?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let tls = url.scheme() == "https";
    let port = url.port_or_known_default().unwrap_or_default();
    if !listed(&rules.allow_hosts, &host, port, url.port().is_none()) {
        return Err(EgressRefusal::NotAllowed(name(&host, &url)));
    }
    // Brackets belong to the URL and not to the address.
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let unresolved = |reason: String| EgressRefusal::Unresolved { host: host.clone(), reason };
    let addresses = resolve(bare, port).map_err(|error| unresolved(error.to_string()))?;
    if addresses.is_empty() {
        return Err(unresolved("it has no address".to_owned()));
    }
    addresses.iter().try_for_each(|address| judge(&host, address.ip(), tls, rules))?;
    Ok(Pinned { base: base(&url), host, port, addresses, tls })
}

/// The base of all paths that `base_url` names, resolved or not.
///
/// # Errors
/// No URL of a server.
pub(crate) fn base_of(base_url: &str) -> Result<String, EgressRefusal> {
    Ok(base(&parse(base_url)?))
}

fn base(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

fn parse(base_url: &str) -> Result<Url, EgressRefusal> {
    let wrong =
        |reason: &str| EgressRefusal::Url { url: shown(base_url), reason: reason.to_owned() };
    // What the URL standard would silently repair is not what anybody means.
    if base_url.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(wrong("it holds a space, a backslash or a control character"));
    }
    if !base_url.is_ascii() {
        return Err(wrong("it holds letters outside ASCII, which may look like others"));
    }
    let url = Url::parse(base_url).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(wrong("its scheme is neither https nor http"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it holds a user name or password; use `api_key_file`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has a query or fragment"));
    }
    match url.host_str() {
        None | Some("") => Err(wrong("it names no host")),
        Some(host) if host.ends_with('.') => Err(wrong("its host ends with a dot")),
        Some(_) => Ok(url),
    }
}

/// For a message: nothing between `://` and `@`, where credentials are written.
fn shown(url: &str) -> String {
    let clean: String = url.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    match (clean.find("://"), clean.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            format!("{}…{}", &clean[..scheme + 3], &clean[at..])
        }
        _ => clean,
    }
}

fn name(host: &str, url: &Url) -> String {
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// `host` stands for the usual port of its scheme, `host:port` for that port.
fn listed(allowed: &[String], host: &str, port: u16, usual_port: bool) -> bool {
    let with_port = format!("{host}:{port}");
    allowed.iter().any(|entry| {
        entry.eq_ignore_ascii_case(&with_port) || (usual_port && entry.eq_ignore_ascii_case(host))
    })
}

fn judge(
    host: &str,
    address: IpAddr,
    tls: bool,
    rules: &EgressConfig,
) -> Result<(), EgressRefusal> {
    let kind = kind_of(address);
    let allowed = match kind {
        AddressKind::Public => true,
        AddressKind::Loopback => rules.allow_loopback,
        AddressKind::Private => rules.allow_private,
        AddressKind::LinkLocal | AddressKind::Reserved => false,
    };
    match (allowed, tls || kind == AddressKind::Loopback) {
        (true, true) => Ok(()),
        (true, false) => Err(EgressRefusal::Plain(host.to_owned())),
        (false, _) => Err(EgressRefusal::Address { host: host.to_owned(), address, kind }),
    }
}

#[cfg(test)]
mod tests;
