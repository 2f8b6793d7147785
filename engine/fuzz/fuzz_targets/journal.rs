//! What a codec of a framed protocol says to a stream of bytes, written down so that two can be compared.

use mainstay_engine::bytes::{Out, Outbox, Pool};
use mainstay_engine::codec::contract::{Codec, Command, Event, Input};
use mainstay_engine::codec::rpc::{Connection, WHOLE};
use mainstay_engine::message::{HeaderBlock, Tick};

/// Events, without the places where the input was cut: adjacent data is one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Journal {
    pub events: Vec<(u32, String, Vec<u8>)>,
    pub sent: Vec<u8>,
    pub open: usize,
    pub is_over: bool,
}

fn fields(headers: &HeaderBlock) -> Vec<u8> {
    headers.iter().flat_map(|(_, name, value)| [name, b": ", value, b"\n"].concat()).collect()
}

impl Journal {
    fn note(&mut self, event: Event<'_>) -> Option<(mainstay_engine::codec::contract::StreamId, usize)> {
        let (mut credit, mut with_head) = (None, &[][..]);
        let (stream, what, bytes, ends) = match event {
            Event::RequestReceived { stream, head, body, end } => {
                with_head = body;
                let what = format!("request {} {:?}", head.one_way, head.deadline_milliseconds);
                (stream, what, [head.path(), b"\n", &fields(&head.headers)].concat(), end)
            }
            Event::ResponseReceived { stream, head, body, end } => {
                with_head = body;
                (stream, format!("response {}", head.status), fields(&head.headers), end)
            }
            Event::DataReceived { stream, bytes, end } => {
                credit = Some((stream, bytes.len()));
                (stream, "data".to_owned(), bytes.to_vec(), end)
            }
            Event::StreamReset { stream, reason, .. } => (stream, format!("{reason:?}"), Vec::new(), false),
            other => {
                self.events.push((0, format!("{other:?}"), Vec::new()));
                return None;
            }
        };
        match self.events.last_mut() {
            Some((of, last, known)) if *of == stream.0 && last == "data" && what == "data" => {
                known.extend(bytes)
            }
            _ => self.events.push((stream.0, what, bytes)),
        }
        if !with_head.is_empty() {
            self.events.push((stream.0, "data".to_owned(), with_head.to_vec()));
        }
        if ends {
            self.events.push((stream.0, "end".to_owned(), Vec::new()));
        }
        credit
    }

    /// Pieces of a message that turned out to be broken: how many came before is a matter of the cuts.
    fn forget_torn(&mut self) {
        let ended: Vec<u32> =
            self.events.iter().filter(|(_, what, _)| what == "end").map(|(stream, ..)| *stream).collect();
        self.events.retain(|(stream, what, _)| what != "data" || ended.contains(stream));
    }
}

/// Feeds `bytes` in pieces of these sizes, in turn; each answer is taken at once.
pub fn journal(codec: &mut Connection, bytes: &[u8], sizes: &[usize]) -> Journal {
    let (mut outbox, mut pool, mut carry) = (Outbox::default(), Pool::default(), Vec::new());
    let (mut journal, mut rest, mut turn) = (Journal::default(), bytes, 0);
    while !rest.is_empty() && !journal.is_over {
        let size = sizes.get(turn % sizes.len().max(1)).copied().unwrap_or(1).clamp(1, rest.len());
        carry.extend_from_slice(&rest[..size]);
        (rest, turn) = (&rest[size..], turn + 1);
        loop {
            let mut buffer = std::mem::take(&mut carry);
            let mut input = Input::new(&mut buffer, false);
            loop {
                let mut out = Out::new(&mut outbox, &mut pool);
                match codec.next_event(&mut input, &mut out, Tick(1)) {
                    Ok(Some(event)) => {
                        if let Some((stream, bytes)) = journal.note(event) {
                            let credit = Command::GrantCredit { stream, bytes };
                            codec.perform(credit, &mut out, Tick(1)).expect("credit is always taken");
                        }
                    }
                    Ok(None) => break,
                    Err(fault) => {
                        assert!(codec.is_finished(), "a fault ends the connection");
                        journal.events.push((0, fault.what.to_owned(), Vec::new()));
                        journal.is_over = true;
                        break;
                    }
                }
            }
            let consumed = input.consumed();
            assert!(consumed <= buffer.len(), "read beyond the input");
            carry = buffer.split_off(consumed);
            assert!(outbox.len() < 4 << 20, "outbox without bound");
            let is_full = outbox.room() == 0;
            journal.sent.extend(outbox.pieces().flatten());
            outbox.clear(&mut pool);
            if journal.is_over || !is_full {
                break;
            }
            codec.on_room();
        }
        assert!(journal.is_over || carry.len() < WHOLE, "more is kept than a frame that is taken whole");
    }
    if journal.is_over {
        journal.forget_torn();
    }
    journal.open = codec.open_streams();
    let mut resets = 0;
    while codec.next_reset().is_some() {
        resets += 1;
    }
    assert_eq!(resets, journal.open, "each stream that is open is reset once");
    journal
}
