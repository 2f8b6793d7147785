//! One step of rustls' unbuffered interface: what it has read goes to `plain`, what it writes behind `outgoing`.

use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};

use super::fault::{FaultKind, TlsFault};

/// Cipher text is at most this much longer than a 16 KiB piece of plain text.
const RECORD_OVERHEAD: usize = 64;

/// What we want to write.
#[derive(Clone, Copy)]
pub(super) enum Payload<'a> {
    Data(&'a [u8]),
    /// close_notify
    Close,
}

pub(super) enum Next {
    /// Something was done; ask again.
    Again,
    /// The payload is encrypted.
    Wrote,
    PeerClosed,
    /// All input is taken, and the connection may write.
    Traffic,
    /// More input is needed, or the connection is over.
    Blocked,
    Fault(TlsFault),
}

pub(super) struct Step {
    pub discard: usize,
    pub next: Next,
}

/// Does what rustls asks for next. `plain`: where what was read goes; `payload`: what is to be written once it may be.
pub(super) fn step<D>(
    status: UnbufferedStatus<'_, '_, D>,
    plain: &mut Vec<u8>,
    outgoing: &mut Vec<u8>,
    payload: Option<Payload<'_>>,
) -> Step {
    let mut discard = status.discard;
    let next = match status.state {
        Err(error) => Next::Fault(error.into()),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut next = Next::Again;
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        plain.extend_from_slice(record.payload);
                        discard += record.discard;
                    }
                    Err(error) => {
                        next = Next::Fault(error.into());
                        break;
                    }
                }
            }
            next
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            match grow(outgoing, 2_048, |target| data.encode(target).map_err(Refusal::from)) {
                Ok(()) => Next::Again,
                Err(fault) => Next::Fault(fault),
            }
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Next::Again
        }
        Ok(ConnectionState::PeerClosed) => Next::PeerClosed,
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let wrote = match payload {
                None => return Step { discard, next: Next::Traffic },
                Some(Payload::Data(bytes)) => {
                    let size = bytes.len() + RECORD_OVERHEAD * (bytes.len() / 16_384 + 1);
                    grow(outgoing, size, |target| traffic.encrypt(bytes, target).map_err(Refusal::from))
                }
                Some(Payload::Close) => grow(outgoing, RECORD_OVERHEAD, |target| {
                    traffic.queue_close_notify(target).map_err(Refusal::from)
                }),
            };
            match wrote {
                Ok(()) => Next::Wrote,
                Err(fault) => Next::Fault(fault),
            }
        }
        Ok(ConnectionState::ReadEarlyData(_)) => {
            Next::Fault(TlsFault { what: "early data is not accepted".to_owned(), kind: FaultKind::Other })
        }
        Ok(_) => Next::Blocked,
    };
    Step { discard, next }
}

/// Why rustls did not fill the buffer.
enum Refusal {
    TooSmall(usize),
    Other(String),
}

impl From<EncodeError> for Refusal {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::TooSmall(required_size)
            }
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<EncryptError> for Refusal {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::TooSmall(required_size)
            }
            other => Self::Other(other.to_string()),
        }
    }
}

/// Appends to `outgoing` what `act` writes, giving it more room if it asks.
fn grow(
    outgoing: &mut Vec<u8>,
    guess: usize,
    mut act: impl FnMut(&mut [u8]) -> Result<usize, Refusal>,
) -> Result<(), TlsFault> {
    let start = outgoing.len();
    let mut size = guess;
    loop {
        outgoing.resize(start + size, 0);
        match act(outgoing.get_mut(start..).unwrap_or(&mut [])) {
            Ok(written) => {
                outgoing.truncate(start + written);
                return Ok(());
            }
            Err(Refusal::TooSmall(needed)) if needed > size => size = needed,
            Err(refusal) => {
                outgoing.truncate(start);
                let what = match refusal {
                    Refusal::TooSmall(_) => "no room for a record".to_owned(),
                    Refusal::Other(what) => what,
                };
                return Err(TlsFault { what, kind: FaultKind::Other });
            }
        }
    }
}
