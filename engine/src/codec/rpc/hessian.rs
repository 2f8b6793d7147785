//! Looks into bodies that begin with hessian values: finds a few texts, skips the rest. No object is built.
//!
//! In: the body's first bytes, and which values are wanted. Out: where they lie. Both dialects: the draft of the 3.1 line (SOFA hessian
//! 3) and the final Hessian 2.0 (Dubbo, SOFA hessian 4). Invariant: a value is skipped without recursion deeper than `MAX_DEPTH`
//! and at most `MAX_VALUES` are; whatever is cut or unknown ends the search, and what was found before stands.

mod values;

use std::ops::Range;

use values::{Over, Reader};

use super::description::{Body, MAX_WANTED};
use crate::plan::RpcDialect;

const MAX_VALUES: u32 = 20_000;
/// Class definitions that are remembered.
const MAX_DEFINITIONS: usize = 64;
/// Fields of a class, parameters of a method.
const MAX_FIELDS: usize = 512;

/// What was found: places in the body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub values: [Option<Range<usize>>; MAX_WANTED],
    /// Pairs of texts among the attachments.
    pub attachments: Vec<Attachment>,
    /// Where their map ends, if it was read to its end: at the mark that ends it.
    pub map_end: Option<usize>,
    pub is_final: bool,
}

/// A pair of the attachments' map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attachment {
    /// Where the pair begins; it ends with its value.
    pub start: usize,
    pub name: Range<usize>,
    pub value: Range<usize>,
}

/// Looks for what `body` wants.
pub(super) fn look(body: &Body, bytes: &[u8], most_attachments: usize) -> Found {
    let mut found = Found::default();
    let is_final = match body.dialect {
        RpcDialect::Draft => false,
        RpcDialect::Final => true,
        RpcDialect::ByFirstByte => bytes.first() == Some(&b'C'),
    };
    found.is_final = is_final;
    let mut reader = Reader { bytes, at: 0, is_final, values_left: MAX_VALUES, definitions: Vec::new() };
    let _ = if body.object.is_empty() {
        reader.values(body, most_attachments, &mut found)
    } else {
        reader.object(&body.object, &mut found)
    };
    found
}

/// Where the text lies that these bytes begin with.
#[cfg(test)]
pub(super) fn only_text(bytes: &[u8], is_final: bool) -> Option<Range<usize>> {
    let definitions = Vec::new();
    Reader { bytes, at: 0, is_final, values_left: 1, definitions }.text().ok().flatten()
}

impl Reader<'_> {
    /// Texts in order, and the attachments behind the arguments.
    fn values(&mut self, body: &Body, most: usize, found: &mut Found) -> Result<(), Over> {
        for slot in found.values.iter_mut().take(usize::from(body.values)) {
            *slot = self.text()?;
        }
        let Some(behind) = body.attachments_behind else { return Ok(()) };
        let types =
            found.values.get(usize::from(behind)).cloned().flatten().and_then(|range| self.bytes.get(range));
        let arguments = count_types(types.unwrap_or(&[])).ok_or(Over)?;
        for _ in 0..arguments {
            self.skip(0)?;
        }
        self.attachments(most, found)
    }

    /// Pairs of texts; others are passed over.
    fn attachments(&mut self, most: usize, found: &mut Found) -> Result<(), Over> {
        let first = self.byte()?;
        match (first, self.is_final) {
            (b'H', true) => {}
            (b'M', _) => self.map_type()?,
            _ => return Err(Over),
        }
        let end = if self.is_final { b'Z' } else { b'z' };
        while self.peek() != Some(end) {
            let start = self.at;
            match (self.is_text(), self.text_or_skip()?) {
                (true, Some(name)) if self.is_text() => {
                    if let Some(value) = self.text()?
                        && found.attachments.len() < most
                    {
                        found.attachments.push(Attachment { start, name, value });
                    }
                }
                _ => self.skip(0)?,
            }
        }
        found.map_end = Some(self.at);
        Ok(())
    }

    /// A class definition, then the object: its fields of these names.
    fn object(&mut self, wanted: &[Box<[u8]>], found: &mut Found) -> Result<(), Over> {
        if self.byte()? != if self.is_final { b'C' } else { b'O' } {
            return Err(Over);
        }
        let mut names = Vec::new();
        let fields = self.definition(Some(&mut names))?;
        let is_instance = match (self.byte()?, self.is_final) {
            (b'o', false) | (b'O', true) => self.int()? == 0,
            (0x60, true) => true,
            _ => false,
        };
        if !is_instance {
            return Err(Over);
        }
        let mut missing = wanted.len();
        for index in 0..usize::from(fields) {
            let name = names.get(index).cloned().and_then(|range| self.bytes.get(range));
            match wanted.iter().position(|wanted| Some(&**wanted) == name) {
                Some(slot) if self.is_text() => {
                    let text = self.text()?;
                    if let Some(slot) = found.values.get_mut(slot) {
                        *slot = text;
                    }
                    missing -= 1;
                }
                Some(_) => {
                    self.skip(0)?;
                    missing = missing.saturating_sub(1);
                }
                None => self.skip(0)?,
            }
            if missing == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Behind `O` (draft) or `C`: name, number of fields, their names.
    fn definition(&mut self, mut names: Option<&mut Vec<Range<usize>>>) -> Result<u16, Over> {
        if self.is_final {
            self.skip_text()?;
        } else {
            let length = self.int()?;
            self.characters(length)?;
        }
        let fields = self.int()?;
        if fields > MAX_FIELDS || self.definitions.len() == MAX_DEFINITIONS {
            return Err(Over);
        }
        for _ in 0..fields {
            let name = self.text()?;
            if let Some(names) = &mut names {
                names.push(name.unwrap_or(0..0));
            }
        }
        self.definitions.push(fields as u16);
        Ok(fields as u16)
    }

    fn fields_of(&self, definition: usize) -> Result<usize, Over> {
        self.definitions.get(definition).map(|&fields| usize::from(fields)).ok_or(Over)
    }
}

/// Types in a JVM descriptor, such as `Ljava/lang/String;[I`.
fn count_types(descriptor: &[u8]) -> Option<usize> {
    let (mut count, mut rest) = (0, descriptor);
    while let Some((&first, behind)) = rest.split_first() {
        rest = match first {
            b'[' => {
                // The type behind it is counted.
                if behind.is_empty() {
                    return None;
                }
                count -= 1;
                behind
            }
            b'L' => behind.get(memchr::memchr(b';', behind)? + 1..)?,
            b'V' | b'Z' | b'B' | b'C' | b'D' | b'F' | b'I' | b'J' | b'S' => behind,
            _ => return None,
        };
        count += 1;
        if count > MAX_FIELDS as i64 {
            return None;
        }
    }
    usize::try_from(count).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(dialect: RpcDialect, object: &[&str], values: u8, attachments_behind: Option<u8>) -> Body {
        let object = object.iter().map(|name| name.as_bytes().into()).collect();
        Body { dialect, object, values, attachments_behind, always: true }
    }

    fn texts(found: &Found, bytes: &[u8]) -> Vec<Option<String>> {
        let text = |range: &Range<usize>| String::from_utf8_lossy(&bytes[range.clone()]).into_owned();
        found.values.iter().map(|range| range.as_ref().map(text)).collect()
    }

    fn short(text: &str) -> Vec<u8> {
        [&[text.len() as u8], text.as_bytes()].concat()
    }

    /// As the Node client of SOFARPC writes `plus(1, 2)`.
    fn sofa_request() -> Vec<u8> {
        let class = "com.alipay.sofa.rpc.core.request.SofaRequest";
        let mut bytes = vec![b'O', 0x90 + class.len() as u8];
        bytes.extend(class.as_bytes());
        bytes.push(0x95);
        for name in
            ["methodName", "methodArgSigs", "targetServiceUniqueName", "targetAppName", "requestProps"]
        {
            bytes.extend(short(name));
        }
        bytes.extend([b'o', 0x90]);
        bytes.extend(short("plus"));
        bytes.extend(*b"Vt\x00\x11[java.lang.String\x6e\x02");
        bytes.extend(short("int"));
        bytes.extend(short("int"));
        bytes.push(b'z');
        bytes.extend(short("com.nodejs.test.TestService:1.0"));
        bytes.extend(*b"NMz\x91\x92");
        bytes
    }

    #[test]
    fn fields_of_an_object_are_found_in_any_order() {
        let bytes = sofa_request();
        let wanted = body(RpcDialect::ByFirstByte, &["targetServiceUniqueName", "methodName"], 0, None);
        let found = texts(&look(&wanted, &bytes, 9), &bytes);
        assert_eq!(found[..2], [Some("com.nodejs.test.TestService:1.0".into()), Some("plus".into())]);
    }

    #[test]
    fn an_object_of_the_final_dialect() {
        let mut bytes = vec![b'C'];
        bytes.extend(short("a.Request"));
        bytes.push(0x92);
        bytes.extend([short("props"), short("methodName")].concat());
        // Props: a map with a list of doubles, a date and a long.
        bytes.extend([0x60, b'H', 1, b'k', 0x7a, 0x5b, 0x5d, 9, 1, b'd', 0x4a, 0, 0, 0, 0, 0, 0, 0, 1, b'Z']);
        bytes.extend(short("pay"));
        let wanted = body(RpcDialect::ByFirstByte, &["methodName"], 0, None);
        assert_eq!(texts(&look(&wanted, &bytes, 9), &bytes)[0], Some("pay".into()));
    }

    fn dubbo_request() -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in ["2.0.2", "shop.Cart", "1.0", "add", "Ljava/lang/String;[I"] {
            bytes.extend(short(text));
        }
        // The arguments: a text of two units written as four bytes, and a typed list of ints.
        bytes.extend([2, 0xf0, 0x9f, 0x8d, 0xb5, 0x72, 4, b'[', b'i', b'n', b't', 0x91, 0x92]);
        bytes.push(b'H');
        for (name, value) in [("interface", "shop.Cart"), ("group", "blue")] {
            bytes.extend([short(name), short(value)].concat());
        }
        bytes.extend([4, b'n', b'u', b'l', b'l', b'N', 1, b'n', 0x91, b'Z']);
        bytes
    }

    #[test]
    fn attachments_lie_behind_the_arguments() {
        let bytes = dubbo_request();
        let wanted = body(RpcDialect::Final, &[], 5, Some(4));
        let found = look(&wanted, &bytes, 9);
        assert_eq!(texts(&found, &bytes)[3], Some("add".into()));
        let text = |range: &Range<usize>| std::str::from_utf8(&bytes[range.clone()]).unwrap();
        let pairs: Vec<_> =
            found.attachments.iter().map(|pair| (text(&pair.name), text(&pair.value))).collect();
        assert_eq!(pairs, [("interface", "shop.Cart"), ("group", "blue")]);
        assert_eq!(look(&wanted, &bytes, 1).attachments.len(), 1);
    }

    #[test]
    fn types_are_counted_as_the_jvm_writes_them() {
        for (descriptor, expected) in [
            ("", Some(0)),
            ("I", Some(1)),
            ("Ljava/lang/String;[[J[La;Z", Some(4)),
            ("L", None),
            ("[", None),
            ("X", None),
        ] {
            assert_eq!(count_types(descriptor.as_bytes()), expected, "{descriptor}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_the_search_in_time(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..300) {
            for dialect in [RpcDialect::Draft, RpcDialect::Final, RpcDialect::ByFirstByte] {
                look(&body(dialect, &[], 3, Some(2)), &bytes, 4);
                look(&body(dialect, &["a"], 0, None), &bytes, 4);
                for whole in [sofa_request(), dubbo_request()] {
                    let mut mixed = whole;
                    mixed.truncate(cut);
                    mixed.extend(&bytes);
                    look(&body(dialect, &["methodName"], 0, None), &mixed, 4);
                    look(&body(dialect, &[], 5, Some(4)), &mixed, 4);
                }
            }
        }

        #[test]
        fn what_is_found_in_cut_bytes_is_found_in_whole_ones(cut in 0usize..140) {
            let (bytes, wanted) = (dubbo_request(), body(RpcDialect::Final, &[], 5, Some(4)));
            let whole = look(&wanted, &bytes, 9);
            let part = look(&wanted, &bytes[..cut.min(bytes.len())], 9);
            for (seen, all) in part.values.iter().zip(&whole.values) {
                prop_assert!(seen.is_none() || seen == all);
            }
            prop_assert!(whole.attachments.starts_with(&part.attachments));
        }
    }
}
