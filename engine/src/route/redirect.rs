//! Where a redirect points to, built by Envoy's rules.

use super::rewrite::PathRewriter;
use crate::message::{NameId, RequestHead};
use crate::plan::{PlanError, Redirect};

#[derive(Debug, Clone)]
pub(super) struct Redirector {
    scheme: Option<Box<[u8]>>,
    host: Option<Box<[u8]>>,
    port: Option<u16>,
    path: Option<Box<[u8]>>,
    path_rewrite: Option<PathRewriter>,
    pub status: u16,
    strip_query: bool,
}

fn filled(text: &str) -> Option<Box<[u8]>> {
    (!text.is_empty()).then(|| text.as_bytes().into())
}

impl Redirector {
    pub fn compile(plan: &Redirect) -> Result<Self, PlanError> {
        if !matches!(plan.status, 301 | 302 | 303 | 307 | 308) {
            return Err(PlanError::new("status", format!("{} is no status of a redirect", plan.status)));
        }
        if plan.path.is_some() && plan.path_rewrite.is_some() {
            return Err(PlanError::new("path", "a path and a path rewrite exclude each other"));
        }
        let path_rewrite = plan
            .path_rewrite
            .as_ref()
            .map(PathRewriter::compile)
            .transpose()
            .map_err(|problem| problem.within("path_rewrite"))?;
        Ok(Self {
            scheme: filled(&plan.scheme),
            host: filled(&plan.host),
            port: plan.port,
            path: plan.path.as_deref().and_then(filled),
            path_rewrite,
            status: plan.status,
            strip_query: plan.strip_query,
        })
    }

    /// Redirects clear-text requests of virtual hosts that require TLS.
    pub fn to_https() -> Self {
        Self {
            scheme: Some(b"https"[..].into()),
            host: None,
            port: None,
            path: None,
            path_rewrite: None,
            status: 301,
            strip_query: false,
        }
    }

    /// The `location`. `matched`: bytes of the path that the route's match covers.
    pub fn location(&self, head: &RequestHead, matched: usize) -> Vec<u8> {
        let scheme = self.scheme.as_deref().unwrap_or(head.scheme());
        let mut location = [scheme, b"://"].concat();
        match &self.host {
            Some(host) => location.extend_from_slice(host),
            None => location.extend_from_slice(self.kept_host(head, scheme)),
        }
        if let Some(port) = self.port {
            location.extend_from_slice(format!(":{port}").as_bytes());
        }
        self.push_path(head, matched, &mut location);
        location
    }

    /// The request's host; its port goes when the redirect names one, or when it was the default of a scheme that changes.
    fn kept_host<'h>(&self, head: &'h RequestHead, scheme: &[u8]) -> &'h [u8] {
        let host = head.authority();
        let Some((bare, port)) = split_port(host) else { return host };
        let came_by = head.headers.get_id(NameId::X_FORWARDED_PROTO).unwrap_or(head.scheme());
        let default = matches!((came_by, port), (b"https", b"443") | (b"http", b"80"));
        if self.port.is_some() || (scheme != came_by && default) { bare } else { host }
    }

    fn push_path(&self, head: &RequestHead, matched: usize, location: &mut Vec<u8>) {
        let current = head.path();
        let query = current.iter().position(|&byte| byte == b'?').and_then(|start| current.get(start..));
        let rewritten;
        let mut path = current;
        if let Some(own) = &self.path {
            location.extend_from_slice(own);
            // A query of its own is kept whatever `strip_query` says, and takes the place of the request's.
            if !own.contains(&b'?') && !self.strip_query {
                location.extend_from_slice(query.unwrap_or_default());
            }
            return;
        } else if let Some(rewriter) = &self.path_rewrite {
            rewritten = rewriter.rewrite(current, matched);
            path = &rewritten;
        }
        let end = path.iter().position(|&byte| byte == b'?').filter(|_| self.strip_query);
        location.extend_from_slice(path.get(..end.unwrap_or(path.len())).unwrap_or(path));
    }
}

/// Host and port of an authority; `None` if it names no port.
pub(super) fn split_port(authority: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memrchr(b':', authority)?;
    let (host, port) = (authority.get(..colon)?, authority.get(colon + 1..)?);
    let is_port = !port.is_empty() && port.iter().all(u8::is_ascii_digit);
    // Colons inside of brackets, or of a bare IPv6 address, start no port.
    let is_host = host.ends_with(b"]") || !host.contains(&b':');
    (is_port && is_host).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PathRewrite;

    fn redirect() -> Redirect {
        Redirect {
            scheme: String::new(),
            host: String::new(),
            port: None,
            path: None,
            path_rewrite: None,
            status: 301,
            strip_query: false,
        }
    }

    fn located(plan: &Redirect, url: (&str, &str, &str)) -> String {
        let mut head = RequestHead::default();
        head.set_scheme(url.0.as_bytes());
        head.set_authority(url.1.as_bytes());
        head.set_path(url.2.as_bytes());
        let made = Redirector::compile(plan).unwrap();
        String::from_utf8(made.location(&head, 4)).unwrap()
    }

    #[test]
    fn locations_follow_envoy() {
        let https = || Redirect { scheme: "https".into(), ..redirect() };
        let port = |port| Redirect { port: Some(port), ..redirect() };
        let path = |path: &str| Redirect { path: Some(path.into()), ..redirect() };
        let strip = |plan: Redirect| Redirect { strip_query: true, ..plan };
        let prefix =
            Redirect { path_rewrite: Some(PathRewrite::Prefix { text: "/new".into() }), ..redirect() };
        for (plan, url, expected) in [
            (https(), ("http", "a.b", "/x?y=1"), "https://a.b/x?y=1"),
            (https(), ("http", "a.b:80", "/x"), "https://a.b/x"),
            (https(), ("http", "a.b:8080", "/x"), "https://a.b:8080/x"),
            (https(), ("https", "a.b:443", "/x"), "https://a.b:443/x"),
            (https(), ("http", "[::1]:80", "/"), "https://[::1]/"),
            (https(), ("http", "[::1]", "/"), "https://[::1]/"),
            (port(8443), ("http", "a.b:80", "/x"), "http://a.b:8443/x"),
            (Redirect { host: "c.d".into(), ..redirect() }, ("http", "a.b:80", "/x"), "http://c.d/x"),
            (Redirect { host: "c.d".into(), ..port(1) }, ("http", "a.b:80", "/x"), "http://c.d:1/x"),
            (path("/n"), ("http", "a", "/x?y=1"), "http://a/n?y=1"),
            (path("/n?z=2"), ("http", "a", "/x?y=1"), "http://a/n?z=2"),
            (strip(path("/n?z=2")), ("http", "a", "/x?y=1"), "http://a/n?z=2"),
            (strip(path("/n")), ("http", "a", "/x?y=1"), "http://a/n"),
            (strip(redirect()), ("http", "a", "/x?y=1"), "http://a/x"),
            (prefix.clone(), ("http", "a", "/old/p?q"), "http://a/new/p?q"),
            (strip(prefix), ("http", "a", "/old/p?q"), "http://a/new/p"),
        ] {
            assert_eq!(located(&plan, url), expected, "{plan:?} {url:?}");
        }
        assert!(Redirector::compile(&Redirect { status: 200, ..redirect() }).is_err());
    }
}
