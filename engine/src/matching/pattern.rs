//! Regular expressions in RE2's syntax, as Envoy takes them: bytes, ASCII classes, linear time, bounded size.

use regex::bytes::{Regex, RegexBuilder};

/// Compiled size up to which a pattern is taken (also the bound of its lazy automaton), bytes.
pub const MAX_PATTERN_BYTES: usize = 1 << 20;

fn build(text: &str) -> Result<Regex, String> {
    // RE2's classes are ASCII, and `.` on bytes keeps paths that are no UTF-8 matchable.
    RegexBuilder::new(text)
        .unicode(false)
        .size_limit(MAX_PATTERN_BYTES)
        .dfa_size_limit(MAX_PATTERN_BYTES)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => {
                format!("the regular expression needs more than {limit} bytes compiled")
            }
            error => format!("not a regular expression: {error}"),
        })
}

/// A pattern that must match the whole value.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    pub fn compile(text: &str) -> Result<Self, String> {
        // On its own first: "a)(b" is wrong, though it would be right between the anchors.
        build(text)?;
        Ok(Self(build(&format!(r"\A(?:{text})\z"))?))
    }

    pub fn matches(&self, value: &[u8]) -> bool {
        self.0.is_match(value)
    }
}

/// A pattern with what every match is replaced by (`RegexMatchAndSubstitute`; `\1` refers to groups, `\0` to the match).
#[derive(Debug, Clone)]
pub struct Substitution {
    pattern: Regex,
    replacement: Vec<u8>,
}

impl Substitution {
    pub fn compile(pattern: &str, substitution: &str) -> Result<Self, String> {
        let pattern = build(pattern)?;
        let mut replacement = Vec::new();
        let mut rest = substitution.chars();
        let mut buffer = [0; 4];
        while let Some(character) = rest.next() {
            match character {
                '\\' => match rest.next() {
                    Some('\\') => replacement.push(b'\\'),
                    Some(digit @ '0'..='9') => {
                        let group = digit as usize - '0' as usize;
                        if group >= pattern.captures_len() {
                            return Err(format!(
                                "the substitution refers to group {group}, which the pattern lacks"
                            ));
                        }
                        replacement.extend(format!("${{{group}}}").bytes());
                    }
                    _ => {
                        return Err(
                            "a backslash in the substitution must be followed by a digit or a backslash"
                                .into(),
                        );
                    }
                },
                '$' => replacement.extend(b"$$"),
                other => replacement.extend_from_slice(other.encode_utf8(&mut buffer).as_bytes()),
            }
        }
        Ok(Self { pattern, replacement })
    }

    pub fn replace_all(&self, value: &[u8]) -> Vec<u8> {
        self.pattern.replace_all(value, self.replacement.as_slice()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_value_must_match() {
        for (pattern, value, expected) in [
            ("a|ab", "ab", true),
            ("/v[0-9]+/.*", "/v12/x", true),
            ("/v[0-9]+", "/v12/x", false),
            ("(?i)abc", "ABC", true),
            (r"\d+", "12", true),
            (".*", "\u{e9}", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(
                Pattern::compile(pattern).unwrap().matches(value.as_bytes()),
                expected,
                "{pattern} on {value}"
            );
        }
    }

    #[test]
    fn bad_and_huge_patterns_are_refused() {
        for bad in ["(", "a)(b", "[z-a]", "a{1000}{1000}{1000}", "(?=x)"] {
            assert!(Pattern::compile(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn substitution_replaces_every_match() {
        for (pattern, substitution, value, expected) in [
            ("^/service/([^/]+)(/.*)$", r"\2/instance/\1", "/service/foo/v1/api", "/v1/api/instance/foo"),
            ("one", "two", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"),
            ("^(.*?)one(.*)$", r"\1two\2", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/one/zzz"),
            ("a", "$1", "bab", "b$1b"),
            ("(a)", r"$\1\\", "bab", r"b$a\b"),
        ] {
            let made = Substitution::compile(pattern, substitution).unwrap();
            assert_eq!(String::from_utf8(made.replace_all(value.as_bytes())).unwrap(), expected);
        }
        assert!(Substitution::compile("(a)", r"\2").is_err());
        assert!(Substitution::compile("a", r"\x").is_err());
        assert!(Substitution::compile("a", "\\").is_err());
    }
}
