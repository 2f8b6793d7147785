//! Why a handshake or a record failed, and in which of the ways that counters tell apart.

use rustls::Error;

/// The handshake or a record failed. An alert for the peer already lies in the outgoing bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFault {
    /// For the log: rustls' words, without key material.
    pub what: String,
    pub kind: FaultKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The peer had to show a certificate and did not.
    NoCertificate,
    /// Its chain is not trusted, expired, or for another use.
    UntrustedCertificate,
    /// Its chain is trusted, its names are not those wanted.
    WrongName,
    /// Bytes that are no TLS, or no record of this connection.
    Malformed,
    /// A secret that the context names has not come yet: nobody can be served.
    NotReady,
    Other,
}

impl From<Error> for TlsFault {
    fn from(error: Error) -> Self {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
        let kind = match &error {
            Error::NoCertificatesPresented => FaultKind::NoCertificate,
            Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
                FaultKind::WrongName
            }
            Error::InvalidCertificate(_) => FaultKind::UntrustedCertificate,
            Error::InvalidMessage(_)
            | Error::DecryptError
            | Error::PeerSentOversizedRecord
            | Error::PeerMisbehaved(rustls::PeerMisbehaved::IllegalMiddleboxChangeCipherSpec) => {
                FaultKind::Malformed
            }
            _ => FaultKind::Other,
        };
        Self { what: error.to_string(), kind }
    }
}
