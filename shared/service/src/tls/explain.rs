//! Why a handshake failed, in words that name the mend.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError, Error as Tls};

/// What a failed handshake or a broken connection says about certificates, if it does.
pub fn in_chain<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Tls> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<Tls>() {
            return Some(found);
        }
        // An I/O error passes its cause's causes on, and not the cause itself.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

/// One sentence about a TLS failure, from either end. An alert is the other end's reason.
pub fn explain(error: &Tls) -> String {
    match error {
        Tls::InvalidCertificate(reason) => format!("its certificate {}", of_peer(reason)),
        Tls::AlertReceived(alert) => of_ours(*alert),
        Tls::NoCertificatesPresented => "it shows no certificate; callers need one".to_owned(),
        Tls::PeerIncompatible(_) => {
            "it does not speak TLS 1.3, which is all that is spoken here".to_owned()
        }
        Tls::InvalidMessage(_) | Tls::InappropriateMessage { .. } => {
            "it does not speak TLS; a daemon's port with `tls:` takes nothing else".to_owned()
        }
        other => other.to_string(),
    }
}

fn of_peer(reason: &CertificateError) -> String {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, ExpiredRevocationList, ExpiredRevocationListContext,
        InvalidPurpose, InvalidPurposeContext, NotValidForName, NotValidForNameContext,
        NotValidYet, NotValidYetContext, Revoked, UnknownIssuer, UnknownRevocationStatus,
    };
    match reason {
        Expired | ExpiredContext { .. } => "has expired; issue a new one and restart it".into(),
        NotValidYet | NotValidYetContext { .. } => {
            "is not valid yet; compare the clocks of both machines".into()
        }
        // A CA of the same name and another key is another CA.
        UnknownIssuer | BadSignature => "was issued by a CA that `ca` does not name".into(),
        NotValidForName | NotValidForNameContext { .. } => {
            "does not name the host of the endpoint; issue one with that name or address".into()
        }
        InvalidPurpose | InvalidPurposeContext { .. } => {
            "is for the other end of a connection (extended key usage)".into()
        }
        Revoked => "is on a list of `revoked`; issue another with another key".into(),
        ExpiredRevocationList | ExpiredRevocationListContext { .. } => {
            "cannot be judged, for its CA's list in `revoked` has expired; write it anew with `seal tls revoke`".into()
        }
        UnknownRevocationStatus => {
            "cannot be judged, for `revoked` holds no list of its CA".into()
        }
        other => format!("is refused ({other})"),
    }
}

fn of_ours(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateExpired => {
            "it refuses our certificate as expired or not valid yet; issue a new one, compare the clocks".into()
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "it does not know the CA of our certificate; both ends need one CA in common".into()
        }
        AlertDescription::UnsupportedCertificate => {
            "our certificate is not for calling; its extended key usage needs clientAuth".into()
        }
        AlertDescription::CertificateRevoked => {
            "it refuses our certificate as revoked; issue another with another key".into()
        }
        AlertDescription::CertificateRequired => "it asks for a certificate; set `[tls]`".into(),
        AlertDescription::ProtocolVersion => "one end does not speak TLS 1.3".into(),
        other => format!("it refuses our certificate or greeting ({other:?}); its log has the reason"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_found_under_the_io_errors_around_it() {
        let tls = Tls::AlertReceived(AlertDescription::UnknownCA);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls.clone()));
        assert_eq!(in_chain(&wrapped), Some(&tls));
        assert_eq!(in_chain(&io::Error::other("something else")), None);
        assert!(explain(&tls).contains("does not know the CA"));
    }
}
