//! Thrift's compact protocol on the framed transport.
//!
//! Why it is no description: the sequence id and the length of the name are varints, whose own width tells where the next field
//! is; and whether a reply holds a declared exception stands in the body's first field header, not in the frame's.
//!
//! `frame` reads and writes what stands in front of a body, `connection` is the codec. Servers of Thrift answer the calls of a
//! connection one after the other, so a connection to a provider carries one call at a time and frames leave as they came.

mod connection;
mod frame;
#[cfg(test)]
mod tests;

use std::num::NonZeroU64;

use serde::Deserialize;

use self::connection::Connection;
use super::{Entry, Native, NativeCodec, Options, typed};
use crate::message::ResponseHead;
use crate::plan::PlanError;

pub(super) const ENTRY: Entry = Entry {
    name: "thrift-compact",
    about: "Thrift's compact protocol on the framed transport.",
    // A frame below 16 MiB, the protocol's id, version 1 with a call or a one-way call.
    detection: &[
        (&[0xff, 0, 0, 0, 0xff, 0xff], &[0, 0, 0, 0, frame::PROTOCOL, 0x21]),
        (&[0xff, 0, 0, 0, 0xff, 0xff], &[0, 0, 0, 0, frame::PROTOCOL, 0x81]),
    ],
    make,
};

/// What a reply is in which the service's method threw what its interface declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Declared {
    /// An answer like any.
    #[default]
    Success,
    /// A failure: 500 to retries, outlier detection and metrics.
    ServerError,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Given {
    #[serde(default)]
    declared_exceptions: Declared,
}

/// What all its connections know.
#[derive(Debug, Clone, Copy)]
struct ThriftCompact {
    digest: NonZeroU64,
    declared: Declared,
}

fn make(options: &Options, digest: NonZeroU64) -> Result<Box<dyn Native>, PlanError> {
    let Given { declared_exceptions } = typed(options)?;
    Ok(Box::new(ThriftCompact { digest, declared: declared_exceptions }))
}

impl Native for ThriftCompact {
    fn server(&self) -> Box<dyn NativeCodec> {
        Box::new(Connection::new(*self, false))
    }

    fn client(&self) -> Box<dyn NativeCodec> {
        Box::new(Connection::new(*self, true))
    }

    fn provider_calls(&self) -> u32 {
        1
    }

    fn reply_status(&self, head: &ResponseHead) -> u64 {
        frame::exception_of(frame::status_of_reply(head)).into()
    }
}
