//! The tables of header compression (RFC 7541 §2.3): the static one, and a dynamic one as each direction keeps it.

use std::collections::VecDeque;

use crate::message::NameId;

/// Fields of the static table (RFC 7541 appendix A), from index 1.
const STATIC: [(NameId, &str, &str); 61] = [
    (NameId::OTHER, ":authority", ""),
    (NameId::OTHER, ":method", "GET"),
    (NameId::OTHER, ":method", "POST"),
    (NameId::OTHER, ":path", "/"),
    (NameId::OTHER, ":path", "/index.html"),
    (NameId::OTHER, ":scheme", "http"),
    (NameId::OTHER, ":scheme", "https"),
    (NameId::OTHER, ":status", "200"),
    (NameId::OTHER, ":status", "204"),
    (NameId::OTHER, ":status", "206"),
    (NameId::OTHER, ":status", "304"),
    (NameId::OTHER, ":status", "400"),
    (NameId::OTHER, ":status", "404"),
    (NameId::OTHER, ":status", "500"),
    (NameId::OTHER, "accept-charset", ""),
    (NameId::ACCEPT_ENCODING, "accept-encoding", "gzip, deflate"),
    (NameId::ACCEPT_LANGUAGE, "accept-language", ""),
    (NameId::OTHER, "accept-ranges", ""),
    (NameId::ACCEPT, "accept", ""),
    (NameId::OTHER, "access-control-allow-origin", ""),
    (NameId::OTHER, "age", ""),
    (NameId::OTHER, "allow", ""),
    (NameId::AUTHORIZATION, "authorization", ""),
    (NameId::CACHE_CONTROL, "cache-control", ""),
    (NameId::OTHER, "content-disposition", ""),
    (NameId::CONTENT_ENCODING, "content-encoding", ""),
    (NameId::OTHER, "content-language", ""),
    (NameId::CONTENT_LENGTH, "content-length", ""),
    (NameId::OTHER, "content-location", ""),
    (NameId::OTHER, "content-range", ""),
    (NameId::CONTENT_TYPE, "content-type", ""),
    (NameId::COOKIE, "cookie", ""),
    (NameId::DATE, "date", ""),
    (NameId::ETAG, "etag", ""),
    (NameId::EXPECT, "expect", ""),
    (NameId::OTHER, "expires", ""),
    (NameId::OTHER, "from", ""),
    (NameId::HOST, "host", ""),
    (NameId::OTHER, "if-match", ""),
    (NameId::IF_MODIFIED_SINCE, "if-modified-since", ""),
    (NameId::IF_NONE_MATCH, "if-none-match", ""),
    (NameId::OTHER, "if-range", ""),
    (NameId::OTHER, "if-unmodified-since", ""),
    (NameId::LAST_MODIFIED, "last-modified", ""),
    (NameId::OTHER, "link", ""),
    (NameId::LOCATION, "location", ""),
    (NameId::OTHER, "max-forwards", ""),
    (NameId::PROXY_AUTHENTICATE, "proxy-authenticate", ""),
    (NameId::PROXY_AUTHORIZATION, "proxy-authorization", ""),
    (NameId::RANGE, "range", ""),
    (NameId::REFERER, "referer", ""),
    (NameId::OTHER, "refresh", ""),
    (NameId::RETRY_AFTER, "retry-after", ""),
    (NameId::SERVER, "server", ""),
    (NameId::SET_COOKIE, "set-cookie", ""),
    (NameId::OTHER, "strict-transport-security", ""),
    (NameId::TRANSFER_ENCODING, "transfer-encoding", ""),
    (NameId::USER_AGENT, "user-agent", ""),
    (NameId::VARY, "vary", ""),
    (NameId::VIA, "via", ""),
    (NameId::WWW_AUTHENTICATE, "www-authenticate", ""),
];

/// Index of the static field that has this well-known name (its value is empty), 0 if there is none.
// Evaluated by the compiler: an index out of bounds would not build.
#[allow(clippy::indexing_slicing)]
const BY_NAME: [u8; 256] = {
    let mut table = [0; 256];
    let mut index = STATIC.len();
    while index > 0 {
        let NameId(id) = STATIC[index - 1].0;
        if id != 0 {
            table[id as usize] = index as u8;
        }
        index -= 1;
    }
    table
};

pub(super) fn static_index_of(id: NameId) -> Option<usize> {
    BY_NAME.get(usize::from(id.0)).filter(|&&index| index != 0).map(|&index| usize::from(index))
}

/// A field in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub id: NameId,
    pub name: &'a [u8],
    pub value: &'a [u8],
}

/// What a field costs beyond its bytes (RFC 7541 §4.1).
pub(super) const OVERHEAD: usize = 32;
const FIRST_DYNAMIC: usize = STATIC.len() + 1;

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    name_length: u16,
    id: NameId,
    value_length: u32,
}

impl Entry {
    fn size(&self) -> usize {
        usize::from(self.name_length) + self.value_length as usize + OVERHEAD
    }
}

/// A dynamic table. Its bytes lie in one buffer, oldest first; what is evicted leaves a gap in front, closed now and then.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    /// Of name and value of each entry, so that the encoder compares bytes only where it will find.
    hashes: VecDeque<u32>,
    bytes: Vec<u8>,
    size: usize,
    limit: usize,
}

impl Table {
    pub fn new(limit: usize) -> Self {
        Self { entries: VecDeque::new(), hashes: VecDeque::new(), bytes: Vec::new(), size: 0, limit }
    }

    /// By the index of a header block: static fields, then the dynamic ones, newest first.
    pub fn get(&self, index: usize) -> Option<Field<'_>> {
        if index < FIRST_DYNAMIC {
            let (id, name, value) = STATIC.get(index.checked_sub(1)?)?;
            return Some(Field { id: *id, name: name.as_bytes(), value: value.as_bytes() });
        }
        let back = index - FIRST_DYNAMIC;
        let entry = self.entries.get(self.entries.len().checked_sub(back + 1)?)?;
        Some(self.field(entry))
    }

    fn field(&self, entry: &Entry) -> Field<'_> {
        let start = entry.start as usize;
        let middle = start + usize::from(entry.name_length);
        let end = middle + entry.value_length as usize;
        Field {
            id: entry.id,
            name: self.bytes.get(start..middle).unwrap_or(&[]),
            value: self.bytes.get(middle..end).unwrap_or(&[]),
        }
    }

    /// The index of a field with this name and value in the dynamic part.
    pub fn find(&self, wanted: Field<'_>) -> Option<usize> {
        let hash = hash(wanted);
        let newest = self.entries.len().checked_sub(1)?;
        let is_wanted = |position: usize| {
            let field = self.entries.get(position).map(|entry| self.field(entry));
            field.is_some_and(|field| field.value == wanted.value && field.name == wanted.name)
        };
        let (front, back) = self.hashes.as_slices();
        let within = |part: &[u32], start: usize| {
            let mut from = 0;
            loop {
                let at = from + part.get(from..)?.iter().position(|known| *known == hash)?;
                if is_wanted(start + at) {
                    return Some(start + at);
                }
                from = at + 1;
            }
        };
        let position = within(front, 0).or_else(|| within(back, front.len()))?;
        Some(FIRST_DYNAMIC + newest - position)
    }

    /// Adds a field as the newest. One larger than the table empties it (RFC 7541 §4.4).
    pub fn insert(&mut self, field: Field<'_>) {
        let size = field.name.len() + field.value.len() + OVERHEAD;
        self.evict(self.limit.saturating_sub(size));
        let Ok(name_length) = u16::try_from(field.name.len()) else { return self.evict(0) };
        if size > self.limit {
            return;
        }
        self.close_gap(size);
        self.hashes.push_back(hash(field));
        self.entries.push_back(Entry {
            start: self.bytes.len() as u32,
            name_length,
            id: field.id,
            value_length: field.value.len() as u32,
        });
        self.bytes.extend_from_slice(field.name);
        self.bytes.extend_from_slice(field.value);
        self.size += size;
    }

    /// Changes the limit, in bytes, and evicts what is beyond.
    pub fn resize(&mut self, limit: usize) {
        self.limit = limit;
        self.evict(limit);
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    fn evict(&mut self, limit: usize) {
        while self.size > limit {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.hashes.pop_front();
            self.size -= oldest.size();
        }
        if self.entries.is_empty() {
            self.bytes.clear();
        }
    }

    /// Moves the bytes to the front when they would outgrow twice the limit: at most once for every full turn of the table.
    fn close_gap(&mut self, coming: usize) {
        let Some(first) = self.entries.front().map(|entry| entry.start) else { return };
        if first > 0 && self.bytes.len() + coming > 2 * self.limit {
            self.bytes.drain(..first as usize);
            for entry in &mut self.entries {
                entry.start -= first;
            }
        }
    }

    #[cfg(test)]
    pub fn fields(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.entries
            .iter()
            .rev()
            .map(|entry| {
                let field = self.field(entry);
                (field.name.to_vec(), field.value.to_vec())
            })
            .collect()
    }

    #[cfg(test)]
    pub fn size(&self) -> usize {
        self.size
    }
}

/// Cheap and without a key: a peer that finds collisions only makes us compare bytes of a table that is 4 KiB at most.
fn hash(field: Field<'_>) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = field.name.len() as u64;
    for part in [field.name, field.value] {
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            state = (state.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR);
        }
        let tail = match part.last_chunk::<8>() {
            Some(last) => u64::from_le_bytes(*last),
            None => rest.iter().fold(0u64, |word, &byte| word << 8 | u64::from(byte)),
        };
        state = (state.rotate_left(5) ^ tail).wrapping_mul(FACTOR);
    }
    (state >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field<'a>(name: &'a str, value: &'a str) -> Field<'a> {
        Field { id: NameId::of(name.as_bytes()), name: name.as_bytes(), value: value.as_bytes() }
    }

    #[test]
    fn static_fields_know_their_ids() {
        for (index, (id, name, _)) in STATIC.iter().enumerate() {
            assert_eq!(*id, NameId::of(name.as_bytes()), "{name}");
            if *id != NameId::OTHER {
                assert_eq!(static_index_of(*id), Some(index + 1));
            }
        }
        assert_eq!(static_index_of(NameId::TRACEPARENT), None);
    }

    #[test]
    fn field_larger_than_the_table_empties_it() {
        let mut table = Table::new(100);
        table.insert(field("a", "b"));
        assert_eq!((table.get(62), table.get(63)), (Some(field("a", "b")), None));
        table.insert(field("a", &"b".repeat(100)));
        assert_eq!((table.get(62), table.size()), (None, 0));
    }

    proptest! {
        #[test]
        fn table_holds_the_newest_fields_that_fit(
            steps in proptest::collection::vec((0usize..3, "[a-z]{1,9}", "[a-z]{0,80}", 0usize..400), 0..120),
        ) {
            let mut table = Table::new(300);
            let mut model: VecDeque<(String, String)> = VecDeque::new();
            let mut limit = 300;
            for (kind, name, value, new_limit) in steps {
                if kind == 0 {
                    limit = new_limit;
                    table.resize(limit);
                } else {
                    table.insert(field(&name, &value));
                    model.push_front((name, value));
                }
                let mut size = 0;
                let kept = model
                    .iter()
                    .take_while(|(name, value)| {
                        size += name.len() + value.len() + OVERHEAD;
                        size <= limit
                    })
                    .count();
                model.truncate(kept);
                let expected: Vec<_> =
                    model.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone().into_bytes())).collect();
                prop_assert_eq!(table.fields(), expected);
                prop_assert!(table.bytes.len() <= 2 * limit.max(300) + 400);
                for (name, value) in &model {
                    let index = table.find(field(name, value)).unwrap();
                    prop_assert_eq!(table.get(index).unwrap(), field(name, value));
                }
            }
        }
    }
}
