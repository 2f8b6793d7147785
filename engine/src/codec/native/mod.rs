//! Codecs of framed protocols that are written in Rust, for what no description can say: the table of them, and what each gives.
//!
//! In: a name and options, as a snapshot has them. Out: a `Protocol`, which makes codecs under the contract of all. The rest of the
//! engine knows it as `Framed`, beside those that are described: routes, retries, pools, metrics and detection are the same. A new
//! one is a file or folder here and a line in `TABLE`. `docs/native-codecs.md` says what its heads must hold.

mod call;
mod thrift_compact;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{BuildHasher, Hasher};
use std::num::NonZeroU64;

use serde::de::DeserializeOwned;

use super::contract::Codec;
use super::rpc::{Match, Trace, Window, judge_all};
use crate::message::{QuickHash, ResponseHead};
use crate::plan::{PlanError, RpcNative, RpcPattern};

pub use call::{Name, put_name};

/// All native codecs.
pub const TABLE: &[Entry] = &[thrift_compact::ENTRY];

/// The table as those see it who name its codecs.
pub fn table() -> Vec<RpcNative> {
    let pattern = |&(mask, value): &(&[u8], &[u8])| RpcPattern { mask: mask.into(), value: value.into() };
    let line = |entry: &Entry| RpcNative {
        name: entry.name.into(),
        about: entry.about.into(),
        detection: entry.detection.iter().map(pattern).collect(),
    };
    TABLE.iter().map(line).collect()
}

/// What is said of a codec, by name of the option.
pub type Options = BTreeMap<String, serde_json::Value>;

/// Gives a codec with its options. The number is the digest of protocol and options, for `Frame::protocol`.
pub type Make = fn(&Options, NonZeroU64) -> Result<Box<dyn Native>, PlanError>;

/// A line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The protocol's: what ports declare, scheme of requests, label of metrics.
    pub name: &'static str,
    /// One sentence for the reference page.
    pub about: &'static str,
    /// Masks and values of first bytes that surely are this protocol; none: a port must declare it.
    pub detection: &'static [(&'static [u8], &'static [u8])],
    /// Reads the options; the path of its errors begins with an option's name.
    pub make: Make,
}

/// What a native codec gives. Shared by all workers.
pub trait Native: Debug + Send + Sync {
    /// For a caller's connection. Heads of requests have a `Frame` with the digest that `make` was given.
    fn server(&self) -> Box<dyn NativeCodec>;

    /// For a connection to a provider. It is given heads whose frames came by an equal protocol, and may verify their digest.
    fn client(&self) -> Box<dyn NativeCodec>;

    /// Calls in flight on one connection to a provider; 1: providers answer one after the other.
    fn provider_calls(&self) -> u32;

    /// The protocol's own status in a reply of ours with this head, for logs.
    fn reply_status(&self, head: &ResponseHead) -> u64;

    /// Where calls tell their trace, if they do.
    fn trace(&self) -> Option<&Trace> {
        None
    }
}

/// One connection of a native codec.
pub trait NativeCodec: Codec + Debug {}

impl<C: Codec + Debug> NativeCodec for C {}

/// A native codec with its options.
#[derive(Debug)]
pub struct Protocol {
    entry: Entry,
    digest: NonZeroU64,
    detection: Box<[Window]>,
    native: Box<dyn Native>,
}

impl Protocol {
    pub fn compile(name: &str, options: &Options) -> Result<Self, PlanError> {
        let known = || TABLE.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
        let entry = TABLE.iter().find(|entry| entry.name == name).ok_or_else(|| {
            PlanError::new("name", format!("there is no native codec \"{name}\"; there are {}", known()))
        })?;
        Self::of(*entry, options)
    }

    fn of(entry: Entry, options: &Options) -> Result<Self, PlanError> {
        let digest = digest_of(entry.name, options);
        let windows = entry.detection.iter().map(|(mask, value)| {
            let reason = "a codec's first bytes are up to 16, with no ones outside of their mask";
            Window::new(mask, value).ok_or_else(|| PlanError::new("detection", reason))
        });
        Ok(Self {
            entry,
            digest,
            detection: windows.collect::<Result<_, _>>()?,
            native: (entry.make)(options, digest).map_err(|error| error.within("options"))?,
        })
    }

    pub fn name(&self) -> &'static str {
        self.entry.name
    }

    pub fn digest(&self) -> NonZeroU64 {
        self.digest
    }

    pub fn trace(&self) -> Option<&Trace> {
        self.native.trace()
    }

    pub fn provider_calls(&self) -> u32 {
        self.native.provider_calls().max(1)
    }

    pub fn reply_status(&self, head: &ResponseHead) -> u64 {
        self.native.reply_status(head)
    }

    pub fn is_certain(&self) -> bool {
        !self.detection.is_empty()
    }

    pub fn recognise(&self, bytes: &[u8]) -> Match {
        judge_all(self.detection.iter(), bytes)
    }

    pub fn server(&self) -> Box<dyn NativeCodec> {
        self.native.server()
    }

    pub fn client(&self) -> Box<dyn NativeCodec> {
        self.native.client()
    }
}

/// Options as a codec has them typed. Unknown ones are refused with those there are.
pub fn typed<T: DeserializeOwned>(options: &Options) -> Result<T, PlanError> {
    let given = options.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    serde_json::from_value(serde_json::Value::Object(given))
        .map_err(|error| PlanError::new("", error.to_string()))
}

fn digest_of(name: &str, options: &Options) -> NonZeroU64 {
    let mut hasher = QuickHash::default().build_hasher();
    hasher.write(b"native\0");
    hasher.write(name.as_bytes());
    for (option, value) in options {
        hasher.write(format!("\0{option}\0{value}").as_bytes());
    }
    NonZeroU64::new(hasher.finish()).unwrap_or(NonZeroU64::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_none_are_refused_with_those_there_are() {
        let refused = Protocol::compile("thrift-header", &Options::new()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "name: there is no native codec \"thrift-header\"; there are thrift-compact"
        );
    }

    #[test]
    fn every_codec_of_the_table_can_be_made_and_has_a_name_of_its_own() {
        for (index, entry) in TABLE.iter().enumerate() {
            let made = Protocol::compile(entry.name, &Options::new()).unwrap();
            assert_eq!((made.name(), made.is_certain()), (entry.name, !entry.detection.is_empty()));
            assert!(TABLE.iter().take(index).all(|other| other.name != entry.name), "{}", entry.name);
        }
    }
}
