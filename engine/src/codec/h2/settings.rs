//! SETTINGS (RFC 9113 §6.5): what the peer says, and what we say.

use super::frame::{ErrorCode, Kind, Wrong, protocol_error, put_header, wrong};
use super::{Settings, window};
use crate::bytes::Out;

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;
/// Ours, from the range for experiments: above 0, streams of this client that are declined (REFUSED_STREAM) are sent elsewhere.
const RESENDS: u16 = 0xf4d5;

/// What one SETTINGS frame of the peer changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Change {
    pub header_table_size: Option<u32>,
    pub max_concurrent_streams: Option<u32>,
    pub initial_window: Option<u32>,
    pub max_frame: Option<u32>,
    pub resends: bool,
}

/// Reads the payload, whose length is a multiple of six. A repeated parameter counts as it was said last, save the table
/// size, whose low point matters too: it is handed out as it comes.
pub(super) fn parse(
    payload: &[u8],
    we_are_server: bool,
    mut on_table_size: impl FnMut(u32),
) -> Result<Change, Wrong> {
    let mut change = Change::default();
    for entry in payload.chunks_exact(6) {
        let [i0, i1, v0, v1, v2, v3] = *entry.first_chunk::<6>().unwrap_or(&[0; 6]);
        let value = u32::from_be_bytes([v0, v1, v2, v3]);
        match u16::from_be_bytes([i0, i1]) {
            HEADER_TABLE_SIZE => {
                change.header_table_size = Some(value);
                on_table_size(value);
            }
            ENABLE_PUSH if value > 1 || (value == 1 && !we_are_server) => {
                return Err(protocol_error("bad ENABLE_PUSH"));
            }
            MAX_CONCURRENT_STREAMS => change.max_concurrent_streams = Some(value),
            INITIAL_WINDOW_SIZE if value > 0x7fff_ffff => {
                return Err(wrong(ErrorCode::FlowControl, "initial window above 2^31-1"));
            }
            INITIAL_WINDOW_SIZE => change.initial_window = Some(value),
            MAX_FRAME_SIZE if !(16_384..=0xff_ffff).contains(&value) => {
                return Err(protocol_error("bad MAX_FRAME_SIZE"));
            }
            MAX_FRAME_SIZE => change.max_frame = Some(value),
            RESENDS => change.resends = value > 0,
            // The size of lists is advice only.
            _ => {}
        }
    }
    Ok(change)
}

/// Our SETTINGS, and the connection's window.
pub(super) fn put(out: &mut Out<'_>, settings: &Settings, we_are_server: bool) {
    let (name, value) = if we_are_server {
        (MAX_CONCURRENT_STREAMS, settings.max_concurrent_streams)
    } else {
        (ENABLE_PUSH, 0)
    };
    let entries = [
        (name, value),
        (INITIAL_WINDOW_SIZE, settings.stream_window.max(window::INITIAL)),
        (MAX_HEADER_LIST_SIZE, u32::try_from(settings.max_head_bytes).unwrap_or(u32::MAX)),
        (RESENDS, 1),
    ];
    let entries = entries.get(..entries.len() - usize::from(!settings.resends)).unwrap_or(&entries);
    put_header(out, entries.len() * 6, Kind::Settings, 0, 0);
    for &(name, value) in entries {
        out.put(&name.to_be_bytes());
        out.put(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: u16, value: u32) -> Vec<u8> {
        [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (name, value, server, code) in [
            (ENABLE_PUSH, 2, true, Some(ErrorCode::Protocol)),
            (ENABLE_PUSH, 1, true, None),
            (ENABLE_PUSH, 1, false, Some(ErrorCode::Protocol)),
            (INITIAL_WINDOW_SIZE, 0x8000_0000, true, Some(ErrorCode::FlowControl)),
            (INITIAL_WINDOW_SIZE, 0x7fff_ffff, true, None),
            (MAX_FRAME_SIZE, 16_383, true, Some(ErrorCode::Protocol)),
            (MAX_FRAME_SIZE, 0x100_0000, true, Some(ErrorCode::Protocol)),
            (MAX_FRAME_SIZE, 0xff_ffff, true, None),
            (0x99, 1, true, None),
        ] {
            let parsed = parse(&entry(name, value), server, |_| {});
            assert_eq!(parsed.err().map(|wrong| wrong.code), code, "{name} {value}");
        }
    }

    #[test]
    fn every_table_size_counts_and_the_last_of_the_others() {
        let payload = [entry(1, 0), entry(1, 4_096), entry(3, 1), entry(3, 7), entry(4, 100_000)].concat();
        let mut sizes = Vec::new();
        let change = parse(&payload, true, |size| sizes.push(size)).unwrap();
        assert_eq!(sizes, [0, 4_096]);
        assert_eq!((change.max_concurrent_streams, change.initial_window), (Some(7), Some(100_000)));
    }
}
