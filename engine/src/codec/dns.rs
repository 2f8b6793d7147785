//! Questions to a name server and its answers (RFC 1035 §4; AAAA by RFC 3596). Addresses only, one question a message.
//!
//! In: a host name and a family; the bytes of an answer. Out: the bytes of a question; addresses with the time they are good
//! for, or why there are none. Invariant: an answer counts only for the question it repeats; whoever asks chooses an
//! unpredictable id, a fresh port and the time to wait. No I/O.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Largest UDP answer asked for (EDNS, RFC 6891): what passes everywhere without fragments.
const UDP_PAYLOAD: u16 = 1_232;
/// Longest name on the wire, its last zero included.
const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;
/// Aliases followed from one name to the next.
const MAX_ALIASES: usize = 16;
/// Records looked at in one answer.
const MAX_RECORDS: u16 = 512;
const HEADER: usize = 12;

const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_SOA: u16 = 6;
const TYPE_AAAA: u16 = 28;
const TYPE_OPT: u16 = 41;
const CLASS_IN: u16 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    fn record_type(self) -> u16 {
        match self {
            Self::V4 => TYPE_A,
            Self::V6 => TYPE_AAAA,
        }
    }
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    id: u16,
    /// On the wire, lower-case.
    name: Vec<u8>,
    family: Family,
}

/// What a name server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// At least one; good for `ttl` seconds.
    Addresses { addresses: Vec<IpAddr>, ttl: u32 },
    /// There is no such name (`exists` false), or it has no address of this family; known for `ttl` seconds, if it says so.
    None { exists: bool, ttl: Option<u32> },
    /// It did not fit: ask again over TCP.
    Truncated,
    /// The server's own error (SERVFAIL, REFUSED …): ask another.
    Failed(u8),
}

/// Bytes that do not answer this question: ignore them and go on waiting, since anybody may have sent them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnAnswer;

impl Question {
    /// `None` if `host` is no name (labels of 1 to 63 bytes, 253 in all). One dot at its end is allowed.
    pub fn new(id: u16, host: &str, family: Family) -> Option<Self> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let mut name = Vec::with_capacity(host.len() + 2);
        for label in host.split('.') {
            if label.is_empty() || label.len() > MAX_LABEL || !label.bytes().all(is_name_byte) {
                return None;
            }
            name.push(label.len() as u8);
            name.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        name.push(0);
        (name.len() <= MAX_NAME).then_some(Self { id, name, family })
    }

    /// The message for UDP; over TCP its length goes before it, in two bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.name.len() + 15);
        let mut put = |number: u16| bytes.extend(number.to_be_bytes());
        // Recursion desired; one question, one additional record (EDNS).
        [self.id, 0x0100, 1, 0, 0, 1].into_iter().for_each(&mut put);
        bytes.extend(&self.name);
        let mut put = |number: u16| bytes.extend(number.to_be_bytes());
        [self.family.record_type(), CLASS_IN].into_iter().for_each(&mut put);
        bytes.push(0);
        let mut put = |number: u16| bytes.extend(number.to_be_bytes());
        [TYPE_OPT, UDP_PAYLOAD, 0, 0, 0].into_iter().for_each(&mut put);
        bytes
    }

    /// Reads what came from the server.
    pub fn read(&self, bytes: &[u8]) -> Result<Answer, NotAnAnswer> {
        let mut reader = Reader { bytes, at: 0 };
        let (id, flags) = (reader.u16()?, reader.u16()?);
        let [questions, answers, authorities] = [reader.u16()?, reader.u16()?, reader.u16()?];
        reader.u16()?;
        let is_response = flags & 0x8000 != 0 && flags & 0x7800 == 0;
        if id != self.id || !is_response || questions != 1 {
            return Err(NotAnAnswer);
        }
        let name = reader.name()?;
        if name != self.name || reader.u16()? != self.family.record_type() || reader.u16()? != CLASS_IN {
            return Err(NotAnAnswer);
        }
        if flags & 0x0200 != 0 {
            return Ok(Answer::Truncated);
        }
        match (flags & 0xf) as u8 {
            code @ (0 | 3) => self.collect(reader, answers, authorities, code == 0),
            code => Ok(Answer::Failed(code)),
        }
    }

    fn collect(
        &self,
        mut reader: Reader<'_>,
        answers: u16,
        authorities: u16,
        exists: bool,
    ) -> Result<Answer, NotAnAnswer> {
        if answers > MAX_RECORDS {
            return Err(NotAnAnswer);
        }
        let (mut aliases, mut found) = (Vec::new(), Vec::new());
        for _ in 0..answers {
            let record = reader.record()?;
            match record.kind {
                TYPE_CNAME => {
                    let target = Reader { bytes: reader.bytes, at: record.start }.name()?;
                    aliases.push((record.name, target, record.ttl));
                }
                kind if kind == self.family.record_type() => {
                    let address = record.address()?;
                    found.push((record.name, address, record.ttl));
                }
                _ => {}
            }
        }
        let (owner, mut ttl) = follow(&self.name, &aliases);
        let mut addresses = Vec::new();
        for (_, address, own) in found.iter().filter(|(name, ..)| *name == owner) {
            ttl = ttl.min(*own);
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        if addresses.is_empty() {
            return Ok(Answer::None { exists, ttl: negative_ttl(reader, authorities) });
        }
        Ok(Answer::Addresses { addresses, ttl })
    }
}

/// Hyphens and underscores are common in names of services.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// The name at the end of the aliases, and the shortest life among them. A loop ends where it began to repeat.
fn follow(name: &[u8], aliases: &[(Vec<u8>, Vec<u8>, u32)]) -> (Vec<u8>, u32) {
    let (mut owner, mut ttl) = (name.to_vec(), u32::MAX);
    for _ in 0..MAX_ALIASES {
        let Some((_, target, own)) = aliases.iter().find(|(alias, ..)| *alias == owner) else { break };
        ttl = ttl.min(*own);
        owner.clone_from(target);
    }
    (owner, ttl)
}

/// How long the absence is known (RFC 2308 §5): the lesser of the SOA record's life and its last field.
fn negative_ttl(mut reader: Reader<'_>, authorities: u16) -> Option<u32> {
    for _ in 0..authorities.min(MAX_RECORDS) {
        let record = reader.record().ok()?;
        if record.kind == TYPE_SOA {
            let minimum = record.data.last_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))?;
            return Some(record.ttl.min(minimum));
        }
    }
    None
}

struct Record<'a> {
    name: Vec<u8>,
    kind: u16,
    ttl: u32,
    data: &'a [u8],
    /// Where `data` starts in the message.
    start: usize,
}

impl Record<'_> {
    fn address(&self) -> Result<IpAddr, NotAnAnswer> {
        if let Ok(bytes) = <[u8; 4]>::try_from(self.data) {
            return Ok(Ipv4Addr::from(bytes).into());
        }
        <[u8; 16]>::try_from(self.data).map(|bytes| Ipv6Addr::from(bytes).into()).map_err(|_| NotAnAnswer)
    }
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], NotAnAnswer> {
        let taken = self.bytes.get(self.at..self.at.saturating_add(count)).ok_or(NotAnAnswer)?;
        self.at += count;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, NotAnAnswer> {
        self.take(2)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes)).ok_or(NotAnAnswer)
    }

    fn u32(&mut self) -> Result<u32, NotAnAnswer> {
        self.take(4)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)).ok_or(NotAnAnswer)
    }

    /// A name, expanded and lower-case. A pointer (§4.1.4) must lead to an earlier place than all before it, so none loops.
    fn name(&mut self) -> Result<Vec<u8>, NotAnAnswer> {
        let mut name = Vec::new();
        let (mut part, mut lowest, mut jumped) = (*self, self.at, false);
        loop {
            let length = *part.take(1)?.first().ok_or(NotAnAnswer)?;
            match length {
                0 => break,
                0xc0.. => {
                    let low = *part.take(1)?.first().ok_or(NotAnAnswer)?;
                    let target = usize::from(length & 0x3f) << 8 | usize::from(low);
                    if target >= lowest {
                        return Err(NotAnAnswer);
                    }
                    if !jumped {
                        self.at = part.at;
                    }
                    jumped = true;
                    lowest = target;
                    part.at = target;
                }
                1..=63 => {
                    name.push(length);
                    name.extend(part.take(usize::from(length))?.iter().map(u8::to_ascii_lowercase));
                    if name.len() >= MAX_NAME {
                        return Err(NotAnAnswer);
                    }
                }
                _ => return Err(NotAnAnswer),
            }
        }
        if !jumped {
            self.at = part.at;
        }
        name.push(0);
        Ok(name)
    }

    fn record(&mut self) -> Result<Record<'a>, NotAnAnswer> {
        let name = self.name()?;
        let (kind, _class, ttl, length) = (self.u16()?, self.u16()?, self.u32()?, self.u16()?);
        let start = self.at;
        let data = self.take(usize::from(length))?;
        // A life beyond 2^31 counts as none (RFC 2181 §8).
        let ttl = if ttl > i32::MAX as u32 { 0 } else { ttl };
        Ok(Record { name, kind, ttl, data, start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn question() -> Question {
        Question::new(7, "Shop.Example.", Family::V4).unwrap()
    }

    fn wire(name: &str) -> Vec<u8> {
        Question::new(0, name, Family::V4).unwrap().name
    }

    /// An answer to `question()`: its flags, and records of name, type, life and data. `authority`: the last so many.
    fn answer(flags: u16, records: &[(Vec<u8>, u16, u32, Vec<u8>)], authority: usize) -> Vec<u8> {
        let answers = (records.len() - authority) as u16;
        let mut bytes: Vec<u8> = [7, 0x8180 | flags, 1, answers, authority as u16, 0]
            .iter()
            .flat_map(|field: &u16| field.to_be_bytes())
            .collect();
        bytes.extend(wire("shop.example"));
        bytes.extend([0, 1, 0, 1]);
        for (name, kind, ttl, data) in records {
            bytes.extend(name);
            bytes.extend(kind.to_be_bytes());
            bytes.extend([0, 1]);
            bytes.extend(ttl.to_be_bytes());
            bytes.extend((data.len() as u16).to_be_bytes());
            bytes.extend(data);
        }
        bytes
    }

    /// A pointer to the question's name.
    const OWN: [u8; 2] = [0xc0, 12];

    #[test]
    fn question_is_written_as_the_standard_says() {
        let bytes = question().to_bytes();
        let expected = [
            &[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1][..],
            b"\x04shop\x07example\0",
            &[0, 1, 0, 1],
            &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_is_no_name_is_not_asked_for() {
        for host in
            ["", ".", "a..b", "a b", "ä.example", &"x".repeat(64), &["x".repeat(60).as_str(); 5].join(".")]
        {
            assert_eq!(Question::new(1, host, Family::V4), None, "{host}");
        }
        assert!(Question::new(1, "_grpc.my-shop", Family::V6).is_some());
    }

    #[test]
    fn addresses_come_with_the_shortest_life() {
        let records = [
            (OWN.to_vec(), TYPE_CNAME, 60, wire("a.example")),
            (wire("a.example"), TYPE_CNAME, 30, wire("b.example")),
            (wire("B.example"), TYPE_A, 300, vec![10, 0, 0, 1]),
            (wire("b.example"), TYPE_A, 300, vec![10, 0, 0, 2]),
            (wire("b.example"), TYPE_A, 300, vec![10, 0, 0, 1]),
            (wire("other.example"), TYPE_A, 1, vec![6, 6, 6, 6]),
        ];
        let addresses = vec![Ipv4Addr::new(10, 0, 0, 1).into(), Ipv4Addr::new(10, 0, 0, 2).into()];
        assert_eq!(question().read(&answer(0, &records, 0)), Ok(Answer::Addresses { addresses, ttl: 30 }));
    }

    #[test]
    fn other_answers_say_why() {
        let soa = [&wire("ns.example")[..], &wire("me.example"), &[0; 16], &30u32.to_be_bytes()].concat();
        let authority = [(wire("example"), TYPE_SOA, 900, soa)];
        for (bytes, expected) in [
            (answer(3, &authority, 1), Answer::None { exists: false, ttl: Some(30) }),
            (answer(0, &authority, 1), Answer::None { exists: true, ttl: Some(30) }),
            (answer(0, &[], 0), Answer::None { exists: true, ttl: None }),
            (answer(0x200, &[], 0), Answer::Truncated),
            (answer(2, &[], 0), Answer::Failed(2)),
        ] {
            assert_eq!(question().read(&bytes), Ok(expected));
        }
    }

    #[test]
    fn answers_to_other_questions_are_ignored() {
        let fine = answer(0, &[(OWN.to_vec(), TYPE_A, 1, vec![1, 2, 3, 4])], 0);
        assert!(question().read(&fine).is_ok());
        for (what, change) in [("id", 1), ("query", 2), ("questions", 5), ("name", 14), ("type", 27)] {
            let mut bytes = fine.clone();
            bytes[change] ^= 0x80;
            assert_eq!(question().read(&bytes), Err(NotAnAnswer), "{what}");
        }
        for length in 0..fine.len() {
            assert_eq!(question().read(&fine[..length]), Err(NotAnAnswer), "cut at {length}");
        }
    }

    #[test]
    fn pointers_cannot_loop() {
        let start = HEADER as u8 + wire("shop.example").len() as u8 + 4;
        for name in [
            vec![0xc0, start],
            vec![0xc0, start + 2, 0],
            vec![1, b'a', 0xc0, start],
            vec![0xff, 0xff],
            vec![0x80, 0],
        ] {
            let bytes = answer(0, &[(name.clone(), TYPE_A, 1, vec![1, 2, 3, 4])], 0);
            assert_eq!(question().read(&bytes), Err(NotAnAnswer), "{name:?}");
        }
        let records = [(OWN.to_vec(), TYPE_CNAME, 9, OWN.to_vec())];
        assert_eq!(question().read(&answer(0, &records, 0)), Ok(Answer::None { exists: true, ttl: None }));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(tail in proptest::collection::vec(any::<u8>(), 0..200), answers in 0u16..9) {
            let mut bytes = answer(0, &[], 0);
            bytes[6..8].copy_from_slice(&answers.to_be_bytes());
            bytes.extend(tail);
            let _ = question().read(&bytes);
        }
    }
}
