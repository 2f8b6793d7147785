//! Who asked: a stream of a client's connection, someone in the engine, or nobody who waits (mirrors).
//!
//! The exchange answers through this and does not know which it is.

use std::fmt;

use super::port::Port;
use crate::codec::contract::{Command, Refused, StreamId};
use crate::message::{HeaderBlock, Key, ResetReason, ResponseFlags, ResponseHead};

/// Why an engine-born exchange ended without a whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub flags: ResponseFlags,
    pub details: String,
    /// The endpoint's connection failed with this, for the log; empty if it did not.
    pub upstream: String,
}

/// Takes the answer of an engine-born exchange. It may not call into `Streams`; what it wants done it leaves where its
/// owner finds it, or asks of the port.
pub trait Caller: fmt::Debug {
    fn head(&mut self, port: &mut dyn Port, head: &ResponseHead, end: bool);
    /// How many of the bytes were taken; for the others `Streams::caller_ready` is called later. With `end` all must be taken
    /// for the end to count.
    fn data(&mut self, port: &mut dyn Port, bytes: &[u8], end: bool) -> usize;
    fn trailers(&mut self, port: &mut dyn Port, trailers: &HeaderBlock);
    /// `credit`: so many bytes of the request have left.
    fn request_moved(&mut self, _port: &mut dyn Port, _credit: usize) {}
    /// No (further) answer comes. Called once, unless an end was seen.
    fn failed(&mut self, port: &mut dyn Port, failure: &Failure);
}

/// Who asked.
#[derive(Debug)]
pub enum Origin {
    Client {
        connection: Key,
        stream: StreamId,
    },
    Caller(Box<dyn Caller>),
    /// A mirror: the answer is read and forgotten.
    Nobody,
}

impl Origin {
    pub fn interim<P: Port>(&mut self, port: &mut P, head: &ResponseHead) {
        if let Self::Client { connection, stream } = *self {
            // A stream that is gone needs no interim head.
            let _ = port.perform(connection, Command::SendInterim { stream, head });
        }
    }

    /// A head and what there is of its body; says how much of that was taken.
    pub fn head<P: Port>(
        &mut self,
        port: &mut P,
        head: &ResponseHead,
        (body, end): (&[u8], bool),
    ) -> Result<usize, Refused> {
        match self {
            Self::Client { connection, stream } => {
                let command = Command::SendResponse { stream: *stream, head, body, end };
                port.perform(*connection, command).map(|accepted| accepted.bytes)
            }
            Self::Caller(caller) => {
                caller.head(port, head, end && body.is_empty());
                Ok(if body.is_empty() { 0 } else { caller.data(port, body, end) })
            }
            Self::Nobody => Ok(body.len()),
        }
    }

    pub fn data<P: Port>(&mut self, port: &mut P, bytes: &[u8], end: bool) -> Result<usize, Refused> {
        match self {
            Self::Client { connection, stream } => {
                let command = Command::SendData { stream: *stream, bytes, end };
                port.perform(*connection, command).map(|accepted| accepted.bytes)
            }
            Self::Caller(caller) => Ok(caller.data(port, bytes, end)),
            Self::Nobody => Ok(bytes.len()),
        }
    }

    pub fn trailers<P: Port>(&mut self, port: &mut P, trailers: &HeaderBlock) -> Result<(), Refused> {
        match self {
            Self::Client { connection, stream } => {
                port.perform(*connection, Command::SendTrailers { stream: *stream, trailers }).map(|_| ())
            }
            Self::Caller(caller) => {
                caller.trailers(port, trailers);
                Ok(())
            }
            Self::Nobody => Ok(()),
        }
    }

    /// `bytes` of the request have left our hands.
    pub fn grant<P: Port>(&mut self, port: &mut P, bytes: usize) {
        if bytes == 0 {
            return;
        }
        match self {
            Self::Client { connection, stream } => {
                let _ = port.perform(*connection, Command::GrantCredit { stream: *stream, bytes });
            }
            Self::Caller(caller) => caller.request_moved(port, bytes),
            Self::Nobody => {}
        }
    }

    pub fn reset<P: Port>(&mut self, port: &mut P, reason: ResetReason) {
        if let Self::Client { connection, stream } = *self {
            let _ = port.perform(connection, Command::ResetStream { stream, reason });
        }
    }

    pub fn become_tunnel<P: Port>(&mut self, port: &mut P) -> Result<(), Refused> {
        match *self {
            Self::Client { connection, stream } => {
                port.perform(connection, Command::BecomeTunnel { stream }).map(|_| ())
            }
            _ => Err(Refused),
        }
    }
}
