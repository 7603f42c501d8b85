//! What is resolved, read and built before the process is confined.

use crate::config::OpenAiConfig;
use crate::egress::{
    ApiKey, EgressConfig, EgressRefusal, Pinned, client, pin, resolve_with_system,
};
use crate::error::EndpointError;

/// The way to one endpoint: its pinned addresses, a client that knows no other, and the key.
pub struct WayOut {
    pub(crate) pinned: Pinned,
    pub(crate) client: reqwest::Client,
    pub(crate) key: Option<ApiKey>,
}

impl WayOut {
    /// Pins the endpoint, reads the key, builds the client. `None` with `offline = true`: then the
    /// process gets no way out at all.
    ///
    /// # Errors
    /// A config that contradicts itself, an endpoint that may not be reached or has no address, a key or
    /// certificates that do not read.
    pub fn prepare(
        config: &OpenAiConfig,
        egress: &EgressConfig,
    ) -> Result<Option<Self>, EndpointError> {
        config.check().map_err(EndpointError::Config)?;
        let pinned = match pin(&config.base_url, egress, resolve_with_system) {
            Err(EgressRefusal::Offline) => return Ok(None),
            pinned => pinned?,
        };
        let client = client(&pinned, egress.ca_file.as_deref(), config.waits())?;
        let key = config.key_source().as_ref().map(ApiKey::read).transpose()?;
        Ok(Some(Self { pinned, client, key }))
    }

    /// The only TCP port to open.
    pub fn port(&self) -> u16 {
        self.pinned.port
    }
}
