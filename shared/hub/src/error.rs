//! What can go wrong between a name and a folder, each with its mend.

use std::io;
use std::path::PathBuf;

use crate::settings::OfflineBy;

/// Why there is no folder. No variant holds a token, and texts of a hub come scrubbed.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A name that no repository has.
    #[error(
        "`{}` is no name of a model; one reads like `Qwen/Qwen2.5-0.5B`: letters, digits, `-`, `_` \
         and `.`, at most 96", plain(.0)
    )]
    Name(String),
    /// A revision that git does not allow.
    #[error("`{}` is no revision; name a branch, a tag or a commit of forty digits", plain(.0))]
    Revision(String),
    /// A variable of the environment.
    #[error("{name}: {problem}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What is wrong, with the mend.
        problem: String,
    },
    /// Not in the cache, and nobody may ask the hub.
    #[error(
        "`{name}` at `{revision}` is not in the cache `{}`, and {by} forbids to fetch it; fetch it \
         where connections are allowed and copy the folder `{folder}` into the cache", cache.display()
    )]
    Offline {
        /// The repository.
        name: String,
        /// The revision.
        revision: String,
        /// Who forbids it.
        by: OfflineBy,
        /// The cache.
        cache: PathBuf,
        /// The repository's folder in a cache.
        folder: String,
    },
    /// Not in the cache.
    #[error(
        "`{name}` at `{revision}` is not in the cache `{}`; fetch it with `seal model fetch {name}`",
        cache.display()
    )]
    NotCached {
        /// The repository.
        name: String,
        /// The revision.
        revision: String,
        /// The cache.
        cache: PathBuf,
    },
    /// In the cache without a file that it needs.
    #[error(
        "`{}` is incomplete: `{missing}` is missing; `seal model fetch {name}` goes on with it",
        folder.display()
    )]
    Incomplete {
        /// The repository.
        name: String,
        /// The snapshot.
        folder: PathBuf,
        /// The first missing file.
        missing: String,
    },
    /// The hub knows no such repository, or hides it.
    #[error(
        "{endpoint} has no model `{name}` that {} may see; check the name{}",
        either(.with_token, "this token", "everybody"),
        either(.with_token, ", or ask for access", "; for a private one set HF_TOKEN")
    )]
    NoRepository {
        /// The repository.
        name: String,
        /// The hub.
        endpoint: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The repository has no such branch, tag or commit.
    #[error("`{name}` has no revision `{revision}`; leave --revision out for its main branch")]
    NoRevision {
        /// The repository.
        name: String,
        /// The revision.
        revision: String,
    },
    /// The owners want to be asked first.
    #[error(
        "`{name}` is gated: accept its terms at {endpoint}/{name}{}",
        either(.with_token, " with the account of this token", ", then set HF_TOKEN")
    )]
    Gated {
        /// The repository.
        name: String,
        /// The hub.
        endpoint: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// Nobody without a token may ask.
    #[error(
        "{endpoint} asks for a token; make one at {endpoint}/settings/tokens and set HF_TOKEN, or \
         HF_TOKEN_PATH to a file that holds it"
    )]
    NoToken {
        /// The hub.
        endpoint: String,
    },
    /// The token is unknown, revoked or expired.
    #[error(
        "{endpoint} rejects the token; make a new one at {endpoint}/settings/tokens, or unset \
         HF_TOKEN for what is public"
    )]
    TokenRejected {
        /// The hub.
        endpoint: String,
    },
    /// A repository without a model that is read here.
    #[error(
        "`{name}` has no safetensors{found}; take a repository with `model.safetensors`: pickles can \
         run code when they are loaded and are never fetched"
    )]
    NoSafetensors {
        /// The repository.
        name: String,
        /// What it has instead, in words.
        found: String,
    },
    /// Something in it keeps it from being used.
    #[error("`{name}` would be of no use here, so its weights were not fetched: {reason}")]
    Unusable {
        /// The repository.
        name: String,
        /// Why, with the mend.
        reason: String,
    },
    /// A repository without `config.json`.
    #[error("`{name}` has no `config.json`, so it is no model that transformers reads")]
    NoConfig {
        /// The repository.
        name: String,
    },
    /// The index does not read, or names what is not there.
    #[error("`{name}`: `model.safetensors.index.json` {problem}; tell its owners")]
    Index {
        /// The repository.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Too many requests.
    #[error(
        "{endpoint} takes no more requests for now; try again {}{}", when(.after_s),
        either(.with_token, "", ", or set HF_TOKEN for a higher limit")
    )]
    Busy {
        /// The hub.
        endpoint: String,
        /// Seconds it asked for.
        after_s: Option<u64>,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// Another answer than the one that was asked for.
    #[error("{endpoint} answers {what} with {answer}; try again later, or another HF_ENDPOINT")]
    Answer {
        /// The hub.
        endpoint: String,
        /// What was asked.
        what: String,
        /// What came.
        answer: String,
    },
    /// No connection.
    #[error(
        "cannot reach {endpoint} for {what}: {reason}; check the network and HF_ENDPOINT, or set \
         HF_HUB_OFFLINE=1 to use what the cache has"
    )]
    Unreachable {
        /// The hub.
        endpoint: String,
        /// What was asked.
        what: String,
        /// What the system said.
        reason: String,
    },
    /// The connection broke or fell silent on the way, again and again.
    #[error(
        "`{file}` broke off at {at} of {of} bytes: {reason}; run the command again, it goes on from \
         there"
    )]
    BrokenOff {
        /// The file.
        file: String,
        /// Bytes that are kept.
        at: u64,
        /// Bytes in all.
        of: u64,
        /// Why.
        reason: String,
    },
    /// A whole file of other content than the hub announced.
    #[error(
        "`{file}` arrived with other content than {endpoint} announced ({problem}) and was thrown \
         away; try again, and if it stays so, another HF_ENDPOINT"
    )]
    Content {
        /// The file.
        file: String,
        /// The hub.
        endpoint: String,
        /// Which figure differs.
        problem: String,
    },
    /// The disk has not enough room.
    #[error(
        "`{}` needs {needed} more bytes and its disk has {free}; free some space, or set HF_HOME to a \
         folder on another disk", cache.display()
    )]
    Disk {
        /// The cache.
        cache: PathBuf,
        /// Bytes to come.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// A file of the cache, or the token's.
    #[error("cannot access `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl HubError {
    /// True if machine or network are in the way, and not what the user asked for.
    #[must_use]
    pub fn is_environment(&self) -> bool {
        matches!(
            self,
            Self::Offline { .. }
                | Self::Busy { .. }
                | Self::Answer { .. }
                | Self::Unreachable { .. }
                | Self::BrokenOff { .. }
                | Self::Content { .. }
                | Self::Disk { .. }
                | Self::File { .. }
        )
    }
}

/// A name from the command line without what could move a cursor.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

fn either(yes: &bool, then: &'static str, otherwise: &'static str) -> &'static str {
    if *yes { then } else { otherwise }
}

fn when(after_s: &Option<u64>) -> String {
    after_s.map_or_else(|| "in some minutes".to_owned(), |seconds| format!("in {seconds} s"))
}
