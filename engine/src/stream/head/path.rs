//! Brings a request's path into the one form that routes and policies compare (RFC 3986 §6.2.2), before any of them looks.
//!
//! In: the path with its query as it came, and what the connection manager asks for. Out: what to do with it. Pure. The
//! query is never touched.

use crate::bytes::Word;

/// What to do with escaped slashes (`%2F`, `%5C`), which some servers take for separators and others do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EscapedSlashes {
    #[default]
    Keep,
    Reject,
    Forward,
    Redirect,
}

impl EscapedSlashes {
    /// From the plan's word; unknown words keep.
    pub fn named(word: &str) -> Self {
        match word {
            "reject" => Self::Reject,
            "unescape_and_forward" => Self::Forward,
            "unescape_and_redirect" => Self::Redirect,
            _ => Self::Keep,
        }
    }
}

/// What the connection manager asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathOptions {
    pub normalize: bool,
    pub merge_slashes: bool,
    pub escaped_slashes: EscapedSlashes,
}

/// What to do with the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathOutcome {
    AsItIs,
    Replaced(Vec<u8>),
    /// The client is sent to the path without escaped slashes.
    Redirect(Vec<u8>),
    Reject,
}

/// Judges a path with its query.
pub fn normalize(target: &[u8], options: PathOptions) -> PathOutcome {
    if target.first() != Some(&b'/') || options == PathOptions::default() {
        return PathOutcome::AsItIs;
    }
    let query_at = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at_checked(query_at).unwrap_or((target, &[]));
    if !may_need_form(path) {
        return PathOutcome::AsItIs;
    }
    let escaped = options.escaped_slashes != EscapedSlashes::Keep && has_escaped_slash(path);
    if escaped && options.escaped_slashes == EscapedSlashes::Reject {
        return PathOutcome::Reject;
    }
    let mut changed = if escaped { unescape_slashes(path) } else { path.to_vec() };
    if options.normalize {
        changed = remove_dot_segments(&unescape_unreserved(&changed));
    }
    if options.merge_slashes {
        changed.dedup_by(|next, previous| *next == b'/' && *previous == b'/');
    }
    if changed == path {
        return PathOutcome::AsItIs;
    }
    changed.extend_from_slice(query);
    if escaped && options.escaped_slashes == EscapedSlashes::Redirect {
        PathOutcome::Redirect(changed)
    } else {
        PathOutcome::Replaced(changed)
    }
}

/// Whether anything in the path may be written otherwise: an escape, a backslash, two slashes, or a segment that starts with a
/// dot. It may say so of one that has none.
fn may_need_form(path: &[u8]) -> bool {
    let (words, _) = path.as_chunks::<8>();
    let (nexts, _) = path.get(1..).unwrap_or(&[]).as_chunks::<8>();
    let is_marked = words.iter().zip(nexts).any(|(word, next)| {
        let (word, next) = (Word::of(*word), Word::of(*next));
        let pair = word.equal(b'/') & (next.equal(b'/') | next.equal(b'.'));
        word.equal(b'%') | word.equal(b'\\') | pair != 0
    });
    let rest = path.get(8 * words.len().min(nexts.len())..).unwrap_or(&[]);
    is_marked
        || rest.iter().any(|byte| matches!(byte, b'%' | b'\\'))
        || rest.windows(2).any(|pair| pair == b"//" || pair == b"/.")
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The byte that `%xy` at the head of `rest` stands for.
fn escape(rest: &[u8]) -> Option<u8> {
    match rest {
        [b'%', high, low, ..] => Some(hex(*high)? << 4 | hex(*low)?),
        _ => None,
    }
}

fn has_escaped_slash(path: &[u8]) -> bool {
    path.windows(3).any(|triple| matches!(escape(triple), Some(b'/' | b'\\')))
}

/// Decodes the escapes for which `decode` holds.
fn unescape(path: &[u8], decode: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, tail)) = rest.split_first() {
        match escape(rest).filter(|&byte| decode(byte)) {
            Some(byte) => {
                plain.push(byte);
                rest = rest.get(3..).unwrap_or(&[]);
            }
            None => {
                plain.push(first);
                rest = tail;
            }
        }
    }
    plain
}

fn unescape_slashes(path: &[u8]) -> Vec<u8> {
    unescape(path, |byte| matches!(byte, b'/' | b'\\'))
}

/// Unreserved characters mean the same escaped or not (RFC 3986 §2.3); a backslash is what careless servers make of a slash.
fn unescape_unreserved(path: &[u8]) -> Vec<u8> {
    let mut plain = unescape(path, |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    for byte in &mut plain {
        if *byte == b'\\' {
            *byte = b'/';
        }
    }
    plain
}

/// RFC 3986 §5.2.4 for a path that begins with a slash; `..` never climbs above the root.
fn remove_dot_segments(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|&byte| byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"." if is_last => kept.push(b""),
            b"." => {}
            b".." => {
                kept.pop();
                if is_last {
                    kept.push(b"");
                }
            }
            _ => kept.push(segment),
        }
    }
    let mut plain = Vec::with_capacity(path.len());
    for segment in &kept {
        plain.push(b'/');
        plain.extend_from_slice(segment);
    }
    if plain.is_empty() {
        plain.push(b'/');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: PathOptions =
        PathOptions { normalize: true, merge_slashes: true, escaped_slashes: EscapedSlashes::Keep };

    fn text(target: &str, options: PathOptions) -> String {
        match normalize(target.as_bytes(), options) {
            PathOutcome::AsItIs => target.to_owned(),
            PathOutcome::Replaced(path) => String::from_utf8(path).unwrap(),
            PathOutcome::Redirect(path) => format!("redirect {}", String::from_utf8(path).unwrap()),
            PathOutcome::Reject => "reject".to_owned(),
        }
    }

    #[test]
    fn dots_slashes_and_escapes_come_into_one_form() {
        for (given, wanted) in [
            ("/", "/"),
            ("/a/b?x=/../y", "/a/b?x=/../y"),
            ("/a/./b/../c", "/a/c"),
            ("/..", "/"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/a/%2e%2E/b", "/b"),
            ("/%61dmin", "/admin"),
            ("/a%20b", "/a%20b"),
            ("/a%zz", "/a%zz"),
            ("/a//b///c", "/a/b/c"),
            ("/a\\..\\b", "/b"),
            ("/a%2f..%2fb", "/a%2f..%2fb"),
            ("*", "*"),
        ] {
            assert_eq!(text(given, ALL), wanted, "{given}");
        }
    }

    #[test]
    fn escaped_slashes_follow_the_plan() {
        let with = |word| PathOptions { escaped_slashes: EscapedSlashes::named(word), ..ALL };
        for (word, wanted) in [
            ("keep", "/a%2Fb?q"),
            ("reject", "reject"),
            ("unescape_and_forward", "/a/b?q"),
            ("unescape_and_redirect", "redirect /a/b?q"),
        ] {
            assert_eq!(text("/a%2Fb?q", with(word)), wanted, "{word}");
        }
        assert_eq!(text("/a%5C..%5Cb", with("unescape_and_forward")), "/b");
    }

    proptest! {
        #[test]
        fn a_path_that_needs_form_is_seen(path in r"/[a/.%\\]{0,3}[a-f0-9]{0,12}(/[a.%/\\]{0,2}){0,3}") {
            let bytes = path.as_bytes();
            let needs = bytes.iter().any(|byte| matches!(byte, b'%' | b'\\'))
                || bytes.windows(2).any(|pair| pair == b"//" || pair == b"/.");
            prop_assert!(may_need_form(bytes) || !needs);
        }

        /// What was brought into form stays as it is: no second look finds a dot segment that the first one made.
        #[test]
        fn form_is_stable(path in "/[a-c./%25eE\\\\]{0,24}") {
            let options = PathOptions { escaped_slashes: EscapedSlashes::Forward, ..ALL };
            if let PathOutcome::Replaced(once) = normalize(path.as_bytes(), options) {
                prop_assert!(once.starts_with(b"/"));
                prop_assert!(!once.windows(2).any(|pair| pair == b"//"));
                let clean = once.split(|&byte| byte == b'/').all(|segment| segment != b"." && segment != b"..");
                prop_assert!(clean, "{:?}", String::from_utf8_lossy(&once));
            }
        }
    }
}
