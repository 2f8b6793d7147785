//! Changes of path and host on the way to the endpoint.

use crate::matching::{Field, Substitution, without_query};
use crate::message::{NameId, RequestHead};
use crate::plan::{HostRewrite, PathRewrite, PlanError};

/// `prefix_rewrite` or `regex_rewrite`.
#[derive(Debug, Clone)]
pub(super) enum PathRewriter {
    Prefix(Box<[u8]>),
    Regex(Box<Substitution>),
}

impl PathRewriter {
    pub fn compile(plan: &PathRewrite) -> Result<Self, PlanError> {
        Ok(match plan {
            PathRewrite::Prefix { text } => Self::Prefix(text.as_bytes().into()),
            PathRewrite::Regex { pattern, substitution } => {
                Self::Regex(Box::new(substitution_of(&pattern.0, substitution)?))
            }
        })
    }

    /// The new path. `matched`: bytes of `path` that the route's match covers. Query and fragment stay.
    pub fn rewrite(&self, path: &[u8], matched: usize) -> Vec<u8> {
        let (mut new, rest) = match self {
            Self::Prefix(text) => (text.to_vec(), path.get(matched..)),
            Self::Regex(substitution) => {
                let bare = without_query(path);
                (substitution.replace_all(bare), path.get(bare.len()..))
            }
        };
        new.extend_from_slice(rest.unwrap_or_default());
        new
    }
}

fn substitution_of(pattern: &str, substitution: &str) -> Result<Substitution, PlanError> {
    Substitution::compile(pattern, substitution).map_err(|reason| PlanError::new("pattern", reason))
}

#[derive(Debug, Clone)]
pub(super) enum HostRewriter {
    Literal(Box<[u8]>),
    Endpoint,
    Header(Field),
    PathRegex(Box<Substitution>),
}

impl HostRewriter {
    pub fn compile(plan: &HostRewrite) -> Result<Self, PlanError> {
        Ok(match plan {
            HostRewrite::Literal { text } => Self::Literal(text.as_bytes().into()),
            HostRewrite::Endpoint {} => Self::Endpoint,
            HostRewrite::Header { name } => Self::Header(Field::new(name)),
            HostRewrite::PathRegex { pattern, substitution } => {
                Self::PathRegex(Box::new(substitution_of(&pattern.0, substitution)?))
            }
        })
    }

    /// The new host, `None` to leave it (also for `Endpoint`, which is known only once one is picked).
    pub fn rewrite(&self, head: &RequestHead) -> Option<Vec<u8>> {
        let filled = |value: Vec<u8>| (!value.is_empty()).then_some(value);
        match self {
            Self::Literal(text) => Some(text.to_vec()),
            Self::Endpoint => None,
            Self::Header(field) => field.of_request(head).map(|value| value.into_owned()).and_then(filled),
            Self::PathRegex(substitution) => filled(substitution.replace_all(without_query(head.path()))),
        }
    }
}

/// Sets the authority and keeps the old one in `x-envoy-original-host`; with `append_forwarded_host` it goes to `x-forwarded-host`
/// too, unless it is the last there.
pub fn set_host(head: &mut RequestHead, host: &[u8], append_forwarded_host: bool) {
    if append_forwarded_host && !head.authority().is_empty() {
        let old = head.authority().to_vec();
        let mut all = head.headers.all_id(NameId::X_FORWARDED_HOST).collect::<Vec<_>>().join(&b","[..]);
        let last = all.rsplit(|&byte| byte == b',').next().unwrap_or_default();
        if last.trim_ascii() != old {
            if !all.is_empty() {
                all.push(b',');
            }
            all.extend_from_slice(&old);
            head.headers.set_id(NameId::X_FORWARDED_HOST, &all);
        }
    }
    let old = head.authority().to_vec();
    head.headers.set_id(NameId::X_ENVOY_ORIGINAL_HOST, &old);
    head.set_authority(host);
}

/// Sets the path and keeps the old one in `x-envoy-original-path`.
pub(super) fn set_path(head: &mut RequestHead, path: &[u8]) {
    let old = head.path().to_vec();
    head.headers.set_id(NameId::X_ENVOY_ORIGINAL_PATH, &old);
    head.set_path(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_host_is_noted_once() {
        let mut head = RequestHead::default();
        head.set_authority(b"a");
        set_host(&mut head, b"b", true);
        set_host(&mut head, b"c", true);
        assert_eq!(head.headers.get_id(NameId::X_FORWARDED_HOST), Some(&b"a,b"[..]));
        head.set_authority(b"b");
        set_host(&mut head, b"d", true);
        assert_eq!(head.headers.get_id(NameId::X_FORWARDED_HOST), Some(&b"a,b"[..]));
        set_host(&mut head, b"e", false);
        assert_eq!(head.headers.get_id(NameId::X_FORWARDED_HOST), Some(&b"a,b"[..]));
        assert_eq!(head.authority(), b"e");
        assert_eq!(head.headers.get_id(NameId::X_ENVOY_ORIGINAL_HOST), Some(&b"d"[..]));
    }
}
