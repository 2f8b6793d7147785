//! `envoy.config.route.v3.HeaderMatcher`, compiled. Of several fields of one name each is tested by itself, as Envoy does since
//! it was found that a value joined to another slips past a rule that names it.

use std::borrow::Cow;

use super::text::TextMatcher;
use crate::bytes::{decimal, push_decimal};
use crate::message::{HeaderBlock, Name, RequestHead, ResponseHead, Values};
use crate::plan::{HeaderMatch, HeaderTest, PlanError};

/// What a header name of the configuration refers to: a field, or what HTTP/2 calls a pseudo-header.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Field {
    Method,
    Scheme,
    Authority,
    Path,
    /// The method of an RPC, which ends its path.
    RpcMethod,
    Status,
    Header(Name),
}

impl Field {
    /// `host` is the authority; unknown pseudo-headers are never found.
    pub fn new(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            ":method" => Self::Method,
            ":scheme" => Self::Scheme,
            ":authority" | "host" => Self::Authority,
            ":path" => Self::Path,
            ":rpc-method" => Self::RpcMethod,
            ":status" => Self::Status,
            lower => Self::Header(Name::new(lower)),
        }
    }

    /// The field's value in a request; several are joined by commas.
    pub fn of_request<'h>(&self, head: &'h RequestHead) -> Option<Cow<'h, [u8]>> {
        match self {
            Self::Header(name) => joined(&head.headers, name),
            _ => self.text_of(head).map(Cow::Borrowed),
        }
    }

    /// Of what is no header: a text of the request's own, if it is not empty.
    #[inline(always)]
    pub fn text_of<'h>(&self, head: &'h RequestHead) -> Option<&'h [u8]> {
        let text = match self {
            Self::Method => head.method(),
            Self::Scheme => head.scheme(),
            Self::Authority => head.authority(),
            Self::Path => head.path(),
            Self::RpcMethod => head.rpc_method()?,
            Self::Status | Self::Header(_) => return None,
        };
        (!text.is_empty()).then_some(text)
    }

    pub fn of_response<'h>(&self, head: &'h ResponseHead) -> Option<Cow<'h, [u8]>> {
        match self {
            Self::Status => Some(Cow::Owned(decimal(head.status.into()).as_bytes().to_vec())),
            Self::Header(name) => joined(&head.headers, name),
            _ => None,
        }
    }

    pub fn of_trailers<'h>(&self, trailers: &'h HeaderBlock) -> Option<Cow<'h, [u8]>> {
        match self {
            Self::Header(name) => joined(trailers, name),
            _ => None,
        }
    }
}

/// A value as it lies in a head; or, where it had to be made, in a caller's buffer from there on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lent<'h> {
    Here(&'h [u8]),
    Pushed { from: usize },
}

/// The same values, not copied where they need not be.
impl Field {
    #[inline]
    pub fn lend_of_request<'h>(&self, head: &'h RequestHead, out: &mut Vec<u8>) -> Option<Lent<'h>> {
        match self {
            Self::Header(name) => lent(&head.headers, name, out),
            _ => self.text_of(head).map(Lent::Here),
        }
    }

    pub fn lend_of_response<'h>(&self, head: &'h ResponseHead, out: &mut Vec<u8>) -> Option<Lent<'h>> {
        match self {
            Self::Status => {
                let from = out.len();
                push_decimal(out, head.status.into());
                Some(Lent::Pushed { from })
            }
            Self::Header(name) => lent(&head.headers, name, out),
            _ => None,
        }
    }

    pub fn lend_of_trailers<'h>(&self, trailers: &'h HeaderBlock, out: &mut Vec<u8>) -> Option<Lent<'h>> {
        match self {
            Self::Header(name) => lent(trailers, name, out),
            _ => None,
        }
    }
}

#[inline]
fn lent<'h>(block: &'h HeaderBlock, name: &Name, out: &mut Vec<u8>) -> Option<Lent<'h>> {
    match block.values(name) {
        Values::None => None,
        Values::One(value) => Some(Lent::Here(value)),
        Values::Several => {
            let from = out.len();
            push_joined(block, name, out);
            Some(Lent::Pushed { from })
        }
    }
}

#[cold]
fn push_joined(block: &HeaderBlock, name: &Name, out: &mut Vec<u8>) {
    for (index, value) in block.all(name).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(value);
    }
}

fn joined<'h>(block: &'h HeaderBlock, name: &Name) -> Option<Cow<'h, [u8]>> {
    match block.values(name) {
        Values::None => None,
        Values::One(value) => Some(Cow::Borrowed(value)),
        Values::Several => {
            let mut all = Vec::new();
            push_joined(block, name, &mut all);
            Some(Cow::Owned(all))
        }
    }
}

#[derive(Debug, Clone)]
pub struct HeaderMatcher {
    pub field: Field,
    test: Test,
    invert: bool,
    absent_as_empty: bool,
}

#[derive(Debug, Clone)]
enum Test {
    Present(bool),
    Text(TextMatcher),
    Range { start: i64, end: i64 },
}

impl HeaderMatcher {
    pub fn compile(plan: &HeaderMatch) -> Result<Self, PlanError> {
        if plan.name.is_empty() {
            return Err(PlanError::new("name", "a header match needs a header name"));
        }
        let test = match &plan.test {
            HeaderTest::Present { present } => Test::Present(*present),
            HeaderTest::Text { matches } => {
                Test::Text(TextMatcher::compile(matches).map_err(|problem| problem.within("test.matches"))?)
            }
            HeaderTest::Range { start, end } => Test::Range { start: *start, end: *end },
        };
        let field = Field::new(&plan.name);
        Ok(Self { field, test, invert: plan.invert, absent_as_empty: plan.absent_as_empty })
    }

    /// Matches where the header is there.
    pub fn present(name: &str) -> Self {
        Self { field: Field::new(name), test: Test::Present(true), invert: false, absent_as_empty: false }
    }

    /// Every one of a list, with its index in the path of a refusal.
    pub fn compile_all(plans: &[HeaderMatch], path: &str) -> Result<Box<[Self]>, PlanError> {
        let compile = |(index, plan)| {
            Self::compile(plan).map_err(|problem| problem.within(&format!("{path}[{index}]")))
        };
        plans.iter().enumerate().map(compile).collect()
    }

    /// The one value that passes, if there is only one.
    pub fn only_value(&self) -> Option<&[u8]> {
        match &self.test {
            Test::Text(matcher) if !self.invert && !self.absent_as_empty => matcher.only_value(),
            _ => None,
        }
    }

    /// How dear the test is, by and large in nanoseconds: a field must be looked for among all.
    pub fn cost(&self) -> u32 {
        let looking = if matches!(self.field, Field::Header(_)) { 20 } else { 5 };
        looking + if let Test::Text(matcher) = &self.test { matcher.cost() } else { 0 }
    }

    pub fn matches(&self, head: &RequestHead) -> bool {
        match &self.field {
            Field::Header(name) => self.accepts_of(&head.headers, name),
            field => self.accepts(field.of_request(head).as_deref()),
        }
    }

    pub fn matches_response(&self, head: &ResponseHead) -> bool {
        match &self.field {
            Field::Header(name) => self.accepts_of(&head.headers, name),
            field => self.accepts(field.of_response(head).as_deref()),
        }
    }

    #[inline]
    fn accepts_of(&self, block: &HeaderBlock, name: &Name) -> bool {
        match block.values(name) {
            Values::None => self.accepts(None),
            Values::One(value) => self.accepts(Some(value)),
            Values::Several => self.accepts_any(block.all(name)),
        }
    }

    /// `value`: the only one, `None` if the header is absent.
    pub fn accepts(&self, value: Option<&[u8]>) -> bool {
        self.accepts_any(value.into_iter())
    }

    /// One value that passes is enough; an inverted test wants that none does.
    fn accepts_any<'v>(&self, values: impl Iterator<Item = &'v [u8]>) -> bool {
        let (mut is_there, mut passes) = (false, false);
        for value in values {
            is_there = true;
            if self.passes(value) {
                passes = true;
                break;
            }
        }
        if !is_there && self.absent_as_empty {
            (is_there, passes) = (true, self.passes(b""));
        }
        match self.test {
            Test::Present(wanted) => (is_there == wanted) != self.invert,
            // Envoy: an absent header fails inverted tests too.
            _ => is_there && passes != self.invert,
        }
    }

    fn passes(&self, value: &[u8]) -> bool {
        match &self.test {
            Test::Present(_) => true,
            Test::Text(matcher) => matcher.matches(value),
            Test::Range { start, end } => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .is_some_and(|number| (*start..*end).contains(&number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Protocol;
    use crate::plan::{StringMatch, StringTest};

    fn matcher(test: HeaderTest, invert: bool, absent_as_empty: bool) -> HeaderMatcher {
        HeaderMatcher::compile(&HeaderMatch { name: "X-Mine".into(), test, invert, absent_as_empty }).unwrap()
    }

    #[test]
    fn the_method_of_an_rpc_is_what_stands_behind_the_last_slash_of_its_path() {
        for (protocol, path, expected) in [
            (Protocol::Rpc, "/shop.Cart:1.0/add", Some("add")),
            (Protocol::Rpc, "/org/shop/Cart/add", Some("add")),
            (Protocol::Rpc, "/shop.Cart/", None),
            (Protocol::Http11, "/shop.Cart/add", None),
        ] {
            let mut head = RequestHead::default();
            head.protocol = protocol;
            head.set_path(path.as_bytes());
            let found = Field::new(":rpc-method").of_request(&head);
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{path}");
            let lent = Field::RpcMethod.lend_of_request(&head, &mut Vec::new());
            assert_eq!(lent, expected.map(|method| Lent::Here(method.as_bytes())));
        }
    }

    #[test]
    fn tests_invert_and_absence_follow_envoy() {
        let exact = || HeaderTest::Text {
            matches: StringMatch { test: StringTest::Exact { text: "1".into() }, ignore_case: false },
        };
        let empty = || HeaderTest::Text {
            matches: StringMatch { test: StringTest::Exact { text: String::new() }, ignore_case: false },
        };
        let range = || HeaderTest::Range { start: -5, end: 10 };
        let present = |present| HeaderTest::Present { present };
        for (test, invert, absent_as_empty, value, expected) in [
            (exact(), false, false, Some("1"), true),
            (exact(), false, false, Some("2"), false),
            (exact(), true, false, Some("2"), true),
            (exact(), true, false, None, false),
            (exact(), true, true, None, true),
            (empty(), false, true, None, true),
            (empty(), false, false, None, false),
            (range(), false, false, Some("-5"), true),
            (range(), false, false, Some("10"), false),
            (range(), false, false, Some("9x"), false),
            (range(), true, false, Some("10"), true),
            (present(true), false, false, Some(""), true),
            (present(true), false, false, None, false),
            (present(true), true, false, None, true),
            (present(false), false, false, None, true),
            (present(false), false, true, None, false),
        ] {
            let made = matcher(test.clone(), invert, absent_as_empty);
            assert_eq!(
                made.accepts(value.map(str::as_bytes)),
                expected,
                "{test:?} {invert} {absent_as_empty} {value:?}"
            );
        }
    }

    #[test]
    fn each_of_several_values_is_tested_by_itself() {
        let exact = |text: &str| HeaderTest::Text {
            matches: StringMatch { test: StringTest::Exact { text: text.into() }, ignore_case: false },
        };
        let mut head = RequestHead::default();
        head.headers.push(b"x-mine", b"host");
        head.headers.push(b"x-mine", b"guest");
        for (text, invert, expected) in [
            ("host", false, true),
            ("guest", false, true),
            ("host,guest", false, false),
            ("guest", true, false),
            ("other", true, true),
        ] {
            assert_eq!(matcher(exact(text), invert, false).matches(&head), expected, "{text} {invert}");
        }
    }

    #[test]
    fn values_of_one_name_are_joined_and_pseudo_headers_are_parts_of_the_head() {
        let mut head = RequestHead::default();
        head.set_authority(b"cart");
        head.headers.push(b"x-mine", b"a");
        head.headers.push(b"x-mine", b"b");
        assert_eq!(Field::new("X-Mine").of_request(&head).as_deref(), Some(&b"a,b"[..]));
        let mut out = b"x=".to_vec();
        assert_eq!(Field::new("X-Mine").lend_of_request(&head, &mut out), Some(Lent::Pushed { from: 2 }));
        assert_eq!(Field::new(":path").lend_of_request(&head, &mut out), None);
        let response = ResponseHead::with_status(204);
        assert_eq!(
            Field::new(":status").lend_of_response(&response, &mut out),
            Some(Lent::Pushed { from: 5 })
        );
        assert_eq!(out, b"x=a,b204");
        assert_eq!(Field::new("Host").of_request(&head).as_deref(), Some(&b"cart"[..]));
        assert_eq!(Field::new(":path").of_request(&head), None);
        assert_eq!(
            Field::new(":status").of_response(&ResponseHead::with_status(503)).as_deref(),
            Some(&b"503"[..])
        );
    }
}
