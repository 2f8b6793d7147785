//! HTTP/2 frames and header blocks, as far as programs need them that know what they send and do not read what headers say.

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
/// The window both programs open, so that it never holds back what is measured.
pub const WIDE: u32 = 1 << 30;
const HEADER_BYTES: usize = 9;
/// First index of HPACK's dynamic table.
const FIRST_DYNAMIC: u8 = 62;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: &'a [u8],
}

/// Cuts bytes into frames, keeping what is not whole.
#[derive(Debug, Default)]
pub struct Cutter {
    kept: Vec<u8>,
}

impl Cutter {
    pub fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(Frame<'_>)) {
        if self.kept.is_empty() {
            let used = cut(bytes, &mut take);
            self.kept.extend_from_slice(&bytes[used..]);
            return;
        }
        self.kept.extend_from_slice(bytes);
        let used = cut(&self.kept, &mut take);
        self.kept.drain(..used);
    }
}

fn cut(bytes: &[u8], take: &mut impl FnMut(Frame<'_>)) -> usize {
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + HEADER_BYTES) {
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let Some(payload) = bytes.get(at + HEADER_BYTES..at + HEADER_BYTES + length) else { break };
        let stream = word(&header[5..]) & 0x7fff_ffff;
        take(Frame { kind: header[3], flags: header[4], stream, payload });
        at += HEADER_BYTES + length;
    }
    at
}

/// Four bytes as a number; what is missing counts as zero.
pub fn word(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).enumerate().fold(0, |found, (at, byte)| found | u32::from(*byte) << (24 - 8 * at))
}

pub fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// SETTINGS with a wide window for streams, and as wide a one for the connection.
pub fn put_opening(out: &mut Vec<u8>) {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let mut settings = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
    settings.extend_from_slice(&WIDE.to_be_bytes());
    put(out, SETTINGS, 0, 0, &settings);
    put(out, WINDOW_UPDATE, 0, 0, &WIDE.to_be_bytes());
}

/// A list of fields that is sent again and again: in full the first time on a connection, as indexes from then on, which is what
/// any HPACK encoder makes of it.
#[derive(Debug)]
pub struct Block {
    pub first: Vec<u8>,
    pub again: Vec<u8>,
}

impl Block {
    /// `fixed`: fields of the static table, already encoded. Of `fields`, few enough to stay in a table of 4,096 bytes.
    pub fn new(fixed: &[u8], fields: &[(String, String)]) -> Block {
        let (mut first, mut again) = (fixed.to_vec(), fixed.to_vec());
        for (at, (name, value)) in fields.iter().enumerate() {
            first.push(0x40);
            put_text(&mut first, name);
            put_text(&mut first, value);
            again.push(0x80 | (FIRST_DYNAMIC + (fields.len() - 1 - at) as u8));
        }
        Block { first, again }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    assert!(text.len() < 127, "texts of one length byte are enough here");
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

/// Whether a response's header block begins with `:status: 200`, as index of the static table or in full.
pub fn is_good(block: &[u8]) -> bool {
    let after_updates = block.iter().position(|byte| byte & 0xe0 != 0x20).map_or(&[][..], |at| &block[at..]);
    match after_updates {
        [0x88, ..] => true,
        // A literal under the name at index 8: plain or by Huffman's code.
        [0x08 | 0x48 | 0x18, rest @ ..] => {
            rest.starts_with(b"\x03200") || rest.starts_with(&[0x82, 0x10, 0x01])
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_however_the_bytes_are_cut() {
        let mut bytes = Vec::new();
        put(&mut bytes, HEADERS, END_HEADERS, 1, &[0x88]);
        put(&mut bytes, DATA, END_STREAM, 1, b"body");
        for at in 0..=bytes.len() {
            let mut cutter = Cutter::default();
            let mut found = Vec::new();
            for part in [&bytes[..at], &bytes[at..]] {
                cutter.feed(part, |frame| {
                    found.push((frame.kind, frame.flags, frame.stream, frame.payload.to_vec()))
                });
            }
            let expected = [(HEADERS, END_HEADERS, 1, vec![0x88]), (DATA, END_STREAM, 1, b"body".to_vec())];
            assert_eq!(found, expected, "cut at {at}");
        }
    }

    #[test]
    fn a_block_is_in_full_once_and_then_indexes_from_the_newest() {
        let fields = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())];
        let block = Block::new(&[0x82], &fields);
        assert_eq!(block.first, b"\x82\x40\x01a\x011\x40\x01b\x012");
        assert_eq!(block.again, [0x82, 0x80 | 63, 0x80 | 62]);
    }

    #[test]
    fn a_status_is_known_in_each_encoding() {
        for block in [&[0x88][..], &[0x20, 0x88], b"\x08\x03200", &[0x48, 0x82, 0x10, 0x01]] {
            assert!(is_good(block), "{block:?}");
        }
        for block in [&[][..], &[0x8d], b"\x08\x03503"] {
            assert!(!is_good(block), "{block:?}");
        }
    }
}
