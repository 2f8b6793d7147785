//! What an exchange has learnt about itself: for the record, the access log and command operators.
//!
//! Gathered while it runs, lent out as `Facts`; decides nothing.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::binding::FarEnd;
use super::site::Site;
use crate::codec::Framed;
use crate::message::{
    HeaderBlock, NameId, Protocol, RequestHead, ResponseFlags, ResponseHead, SpiffeId, Tick,
};
use crate::route::Decision;
use crate::telemetry::TraceContext;
use crate::telemetry::log_format::{Operator, Source};
use crate::telemetry::{Facts, Moments, PeerLabels, Reporter, RpcFacts};
use crate::upstream::{Cluster, Endpoint};

/// Everything but the heads.
#[derive(Debug)]
pub struct Notes {
    pub protocol: Protocol,
    pub client: Option<SocketAddr>,
    pub decision: Decision,
    pub cluster: Option<Arc<Cluster>>,
    /// Of the last attempt.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Who answered there, and from where we asked.
    pub upstream: Option<Rc<FarEnd>>,
    pub upstream_failure: String,
    pub flags: ResponseFlags,
    pub details: Cow<'static, str>,
    pub status: u16,
    pub grpc_status: Option<u32>,
    pub attempts: u32,
    pub received: u64,
    pub sent: u64,
    pub received_headers: u64,
    pub sent_headers: u64,
    /// Of gRPC, up and down.
    messages: Option<Box<[Messages; 2]>>,
    pub moments: Moments,
    /// Of a call of a framed protocol (`Facts`).
    pub service_time: Option<u32>,
    /// The client's labels, where it is the other side.
    pub client_labels: Option<Arc<PeerLabels>>,
    pub trace: Option<TraceContext>,
    /// The client told who it is: it is told who we are.
    pub asked_who_we_are: bool,
}

impl Notes {
    #[inline]
    pub fn new(protocol: Protocol, now: Tick, wall: u64) -> Self {
        Self {
            protocol,
            client: None,
            decision: Decision::NotFound,
            cluster: None,
            endpoint: None,
            upstream: None,
            upstream_failure: String::new(),
            flags: ResponseFlags::default(),
            details: Cow::Borrowed(""),
            status: 0,
            grpc_status: None,
            attempts: 0,
            received: 0,
            sent: 0,
            received_headers: 0,
            sent_headers: 0,
            messages: None,
            moments: Moments { started: now, started_wall: wall, ended: now, ..Moments::default() },
            service_time: None,
            client_labels: None,
            trace: None,
            asked_who_we_are: false,
        }
    }

    /// The gRPC status of a trailers-only head or of trailers.
    pub fn note_grpc_status(&mut self, headers: &HeaderBlock) {
        let status = headers.get_id(NameId::GRPC_STATUS);
        if let Some(code) = status.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()) {
            self.grpc_status = Some(code);
        }
    }

    /// Bytes of a gRPC stream, up (0) or down (1).
    pub fn note_messages(&mut self, direction: usize, bytes: &[u8]) {
        if let Some(messages) = self.messages.get_or_insert_default().get_mut(direction) {
            messages.note(bytes);
        }
    }

    /// For command operators, while the exchange runs.
    pub fn known<'a>(&'a self, site: &'a Site) -> Known<'a> {
        Known { notes: self, site, request: None, response: None, status: self.status }
    }

    /// As plain values; `None` for a head that is lent out.
    pub fn facts<'a>(
        &'a self,
        site: &'a Site,
        request: Option<&'a RequestHead>,
        response: Option<&'a ResponseHead>,
    ) -> Facts<'a> {
        let route = self.decision.route();
        let policy = self.cluster.as_ref().map(|cluster| cluster.policy());
        let reporter = site.reporter;
        let endpoint = self.endpoint.as_ref();
        let other = match reporter {
            Reporter::Destination => self.client_labels.as_deref(),
            _ => endpoint.map(|endpoint| endpoint.labels().as_ref()),
        };
        let [asked, answered] = self
            .messages
            .as_deref()
            .map_or([0; 2], |messages| messages.each_ref().map(|messages| messages.count));
        Facts {
            reporter,
            protocol: self.protocol,
            peer: &site.peer,
            client: self.client,
            request,
            response,
            rpc: match request {
                Some(request) => self.rpc_facts(site, request, response),
                None => self.unseen_rpc_facts(site),
            },
            trailers: None,
            grpc_status: self.grpc_status,
            status: self.status,
            flags: self.flags,
            details: &self.details,
            route: route.map_or("", |route| &route.name),
            filter_chain: site.chain(),
            cluster: policy.map_or("", |policy| &policy.name),
            service_host: policy.map_or("", |policy| &policy.service_host),
            service_name: policy.map_or("", |policy| &policy.service_name),
            service_namespace: policy.map_or("", |policy| &policy.service_namespace),
            upstream: endpoint.and_then(|endpoint| endpoint.address().socket()),
            upstream_local: self.upstream.as_ref().and_then(|far| far.0.local),
            mutual_tls: match reporter {
                Reporter::Source => {
                    endpoint.and_then(|endpoint| endpoint.tls()).is_some_and(|tls| tls.is_mutual())
                }
                _ => site.peer.certificate.is_some(),
            },
            upstream_failure: &self.upstream_failure,
            downstream_failure: "",
            other: other.unwrap_or(PeerLabels::NONE),
            other_principal: match (reporter, &self.upstream) {
                (Reporter::Source, Some(far)) => far.0.identity.as_ref().map_or("", SpiffeId::as_str),
                _ => "",
            },
            attempts: self.attempts,
            received: self.received,
            sent: self.sent,
            received_headers: self.received_headers,
            sent_headers: self.sent_headers,
            request_messages: asked,
            response_messages: answered,
            moments: self.moments,
            service_time: self.service_time,
            trace: self.trace.as_ref(),
            connection_id: site.connection_id,
        }
    }

    /// Of a call that the codec refused: where a port has one protocol, it was that one.
    fn unseen_rpc_facts<'a>(&self, site: &'a Site) -> Option<RpcFacts<'a>> {
        let [protocol] = &*site.http.as_ref().filter(|_| self.protocol == Protocol::Rpc)?.manager.rpc else {
            return None;
        };
        Some(RpcFacts {
            protocol: protocol.name(),
            service: b"",
            method: b"",
            id: 0,
            status: (self.status > 0).then(|| protocol.reply_status(&ResponseHead::with_status(self.status))),
            trace: None,
            one_way: false,
        })
    }

    /// Of a call of a framed protocol.
    fn rpc_facts<'a>(
        &self,
        site: &'a Site,
        request: &'a RequestHead,
        response: Option<&ResponseHead>,
    ) -> Option<RpcFacts<'a>> {
        let frame = request.frame?;
        let protocol = site.http.as_ref().and_then(|http| http.manager.rpc_of(request));
        let status = response.and_then(|head| match head.frame {
            Some(answer) => Some(answer.number),
            None => protocol.map(|protocol| protocol.reply_status(head)),
        });
        Some(RpcFacts {
            protocol: match protocol {
                Some(protocol) => protocol.name(),
                None => std::str::from_utf8(request.scheme()).unwrap_or("rpc"),
            },
            service: request.headers.slice(frame.service),
            method: request.headers.slice(frame.method),
            id: frame.number,
            status,
            trace: protocol.and_then(Framed::trace),
            one_way: request.one_way,
        })
    }
}

/// What is known of an exchange; taken together only when a command operator asks for it, which most configurations never do.
pub struct Known<'a> {
    pub notes: &'a Notes,
    pub site: &'a Site,
    /// Unless it is lent out.
    pub request: Option<&'a RequestHead>,
    pub response: Option<&'a ResponseHead>,
    pub status: u16,
}

impl Source for Known<'_> {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        let mut facts = self.notes.facts(self.site, self.request, self.response);
        facts.status = self.status;
        facts.write(operator, out)
    }
}

/// Counts gRPC messages by their five-byte prefixes, wherever the data is cut.
#[derive(Debug, Clone, Copy, Default)]
struct Messages {
    count: u64,
    /// Bytes of the prefix that have come.
    prefix: u8,
    length: u32,
    /// Bytes of the present message still to come.
    rest: u32,
}

impl Messages {
    fn note(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, tail)) = bytes.split_first() {
            if self.rest > 0 {
                let skipped = bytes.len().min(self.rest as usize);
                self.rest -= skipped as u32;
                bytes = bytes.get(skipped..).unwrap_or(&[]);
                continue;
            }
            bytes = tail;
            if self.prefix > 0 {
                self.length = self.length << 8 | u32::from(byte);
            }
            self.prefix += 1;
            if self.prefix == 5 {
                self.count += 1;
                (self.rest, self.prefix, self.length) = (self.length, 0, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_wherever_they_are_cut() {
        let mut stream = Vec::new();
        for size in [0u32, 1, 300, 70_000] {
            stream.push(0);
            stream.extend(size.to_be_bytes());
            stream.extend(vec![9; size as usize]);
        }
        for cut in [1, 2, 3, 5, 7, 1_000, 100_000] {
            let mut messages = Messages::default();
            stream.chunks(cut).for_each(|piece| messages.note(piece));
            assert_eq!(messages.count, 4, "{cut}");
        }
    }
}
