//! Who a certificate speaks for: its one URI name, `spiffe://<trust domain>/<role>/<id>`.
//!
//! Source: SPIFFE-ID and X509-SVID, which fix the alphabet and that there is exactly one URI.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use seal_protocol::Role;

/// Longest URI that is read, in bytes.
const LONGEST: usize = 2048;
/// Longest trust domain, in bytes.
const LONGEST_DOMAIN: usize = 255;

/// Who takes part in calls between hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// Carries a run's messages: `seal run`.
    Conductor,
    /// Asks, promotes, rolls back: `seal ask`, `seal rollback`.
    Operator,
    /// A daemon; it is called and never calls.
    Teacher,
    /// A daemon; it is called and never calls.
    Student,
    /// A daemon; it is called and never calls.
    Auditor,
    /// A daemon; it is called, and calls its one endpoint outside.
    Judge,
}

impl Party {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Conductor, Self::Operator, Self::Teacher, Self::Student, Self::Auditor, Self::Judge];

    /// As it stands in certificates.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conductor => "conductor",
            Self::Operator => "operator",
            Self::Teacher => "teacher",
            Self::Student => "student",
            Self::Auditor => "auditor",
            Self::Judge => "judge",
        }
    }

    /// The daemon that works in this role.
    pub fn of_daemon(role: Role) -> Option<Self> {
        match role {
            Role::Teacher => Some(Self::Teacher),
            Role::Student => Some(Self::Student),
            Role::Auditor => Some(Self::Auditor),
            Role::Judge => Some(Self::Judge),
            _ => None,
        }
    }

    /// Whether it is a daemon, which answers calls and makes none.
    pub fn is_daemon(self) -> bool {
        matches!(self, Self::Teacher | Self::Student | Self::Auditor | Self::Judge)
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no party.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no party; write conductor, operator, teacher, student, auditor or judge")]
pub struct UnknownParty(String);

impl FromStr for Party {
    type Err = UnknownParty;

    fn from_str(text: &str) -> Result<Self, UnknownParty> {
        let named = Self::ALL.into_iter().find(|party| party.name() == text);
        named.ok_or_else(|| UnknownParty(text.to_owned()))
    }
}

/// A peer by the name in its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its deployment.
    pub trust_domain: String,
    /// What it may do.
    pub party: Party,
    /// Which one of its kind.
    pub id: String,
}

/// Why a certificate names nobody here.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No URI, or several.
    #[error(
        "the certificate has {0} URI names and needs exactly one, `URI:spiffe://<trust domain>/<role>/<id>` among its subject alternative names"
    )]
    NotOneUri(usize),
    /// Not of our form.
    #[error(
        "the certificate's URI name is not `spiffe://<trust domain>/<role>/<id>`, with a role of conductor, operator, teacher, student, auditor or judge"
    )]
    Form,
    /// Of another deployment.
    #[error(
        "the certificate is of the trust domain `{found}` and this config says `{expected}`; correct `trust_domain` or issue another certificate"
    )]
    OtherDomain {
        /// Demanded.
        expected: String,
        /// In the certificate.
        found: String,
    },
    /// Not a certificate.
    #[error("the certificate cannot be read")]
    Unreadable,
}

impl Identity {
    /// The identity in a certificate of `trust_domain`. Says nothing about who signed it.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn of(certificate: &CertificateDer<'_>, trust_domain: &str) -> Result<Self, IdentityError> {
        let parsed = webpki::EndEntityCert::try_from(certificate);
        let parsed = parsed.map_err(|_| IdentityError::Unreadable)?;
        let uris: Vec<&str> = parsed.valid_uri_names().take(2).collect();
        let [uri] = uris.as_slice() else {
            return Err(IdentityError::NotOneUri(uris.len()));
        };
        let identity: Self = uri.parse()?;
        match identity.trust_domain == trust_domain {
            true => Ok(identity),
            false => Err(IdentityError::OtherDomain {
                expected: trust_domain.to_owned(),
                found: identity.trust_domain,
            }),
        }
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(uri: &str) -> Result<Self, IdentityError> {
        let path = uri.strip_prefix("spiffe://").filter(|_| uri.len() <= LONGEST);
        let parts: Vec<&str> = path.ok_or(IdentityError::Form)?.split('/').collect();
        let [trust_domain, party, id] = parts[..] else {
            return Err(IdentityError::Form);
        };
        if !is_domain(trust_domain) || !is_segment(id) {
            return Err(IdentityError::Form);
        }
        let party = party.parse().map_err(|_| IdentityError::Form)?;
        Ok(Self { trust_domain: trust_domain.to_owned(), party, id: id.to_owned() })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/{}/{}", self.trust_domain, self.party, self.id)
    }
}

fn is_domain(text: &str) -> bool {
    let letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-_".contains(&c);
    (1..=LONGEST_DOMAIN).contains(&text.len()) && text.bytes().all(letter)
}

fn is_segment(text: &str) -> bool {
    let letter = |c: u8| c.is_ascii_alphanumeric() || b".-_".contains(&c);
    !matches!(text, "" | "." | "..") && text.bytes().all(letter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{Leaf, TestCa};

    #[test]
    fn a_name_of_our_form_reads_and_prints() {
        for party in Party::ALL {
            let text = format!("spiffe://seal.internal/{party}/host-1");
            let identity: Identity = text.parse().unwrap();
            assert_eq!((identity.party, identity.to_string()), (party, text));
        }
    }

    #[test]
    fn every_other_form_is_refused() {
        let long = format!("spiffe://seal.internal/student/{}", "a".repeat(LONGEST));
        for odd in [
            "",
            "spiffe://",
            "spiffe://seal.internal",
            "spiffe://seal.internal/student",
            "spiffe://seal.internal/student/",
            "spiffe://seal.internal/student/a/b",
            "spiffe://seal.internal//a",
            "spiffe://Seal.internal/student/a",
            "spiffe://seal.internal:443/student/a",
            "spiffe://user@seal.internal/student/a",
            "spiffe:///student/a",
            "spiffe://seal.internal/Student/a",
            "spiffe://seal.internal/root/a",
            "spiffe://seal.internal/student/..",
            "spiffe://seal.internal/student/a?b",
            "spiffe://seal.internal/student/%61",
            "SPIFFE://seal.internal/student/a",
            "https://seal.internal/student/a",
            "spiffe://seal.internal/student/a\u{0}",
            &long,
        ] {
            assert_eq!(odd.parse::<Identity>(), Err(IdentityError::Form), "{odd}");
        }
    }

    #[test]
    fn a_certificate_speaks_for_one_party_of_one_trust_domain() {
        let ca = TestCa::new();
        let found = |uris: &[&str]| Identity::of(&ca.leaf(&Leaf::with_uris(uris)).der, "seal.test");
        let student = "spiffe://seal.test/student/s1";
        assert_eq!(found(&[student]).unwrap().party, Party::Student);
        assert_eq!(found(&[]), Err(IdentityError::NotOneUri(0)));
        let two = [student, "spiffe://seal.test/conductor/c1"];
        assert_eq!(found(&two), Err(IdentityError::NotOneUri(2)));
        assert_eq!(found(&["https://seal.test"]), Err(IdentityError::Form));
        let foreign = found(&["spiffe://other.test/student/s1"]);
        assert!(matches!(foreign, Err(IdentityError::OtherDomain { .. })), "{foreign:?}");
        let nothing = Identity::of(&CertificateDer::from(vec![0x30, 0x03, 1, 2, 3]), "seal.test");
        assert_eq!(nothing, Err(IdentityError::Unreadable));
    }
}
