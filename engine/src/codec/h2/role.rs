//! The two roles as the worker sees them. What they hold is boxed: the state of an HTTP/2 connection is several times that of
//! the other codecs, which share the same slot.

use super::Settings;
use super::connection::{Connection, Role};
use crate::bytes::Out;
use crate::codec::contract::{
    Accepted, Codec, Command, ConnectionFault, Ending, Event, Input, Refused, StreamId,
};
use crate::message::Tick;

macro_rules! roles {
    ($($(#[$doc:meta])* $role:ident),+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $role(Box<Connection>);

        impl $role {
            pub fn new(settings: Settings) -> Self {
                Self(Box::new(Connection::new(Role::$role, settings)))
            }

            #[cfg(test)]
            #[allow(dead_code)]
            pub(super) fn connection(&self) -> &Connection {
                &self.0
            }
        }

        impl Codec for $role {
            fn next_event<'b>(
                &mut self, input: &mut Input<'b>, out: &mut Out<'_>, now: Tick,
            ) -> Result<Option<Event<'b>>, ConnectionFault> {
                self.0.next_event(input, out, now)
            }
            fn perform(&mut self, command: Command<'_>, out: &mut Out<'_>, now: Tick) -> Result<Accepted, Refused> {
                self.0.perform(command, out, now)
            }
            fn open_stream(&mut self) -> Option<StreamId> {
                self.0.open_stream()
            }
            fn open_streams(&self) -> usize {
                self.0.streams.len()
            }
            fn ending(&self) -> Ending {
                self.0.ending()
            }
            fn wants_input(&self) -> bool {
                self.0.over.is_none() && !self.0.parked
            }
            fn next_reset(&mut self) -> Option<StreamId> {
                self.0.over.get_or_insert(Ending::Closed);
                self.0.streams.pop_above(0).map(|stream| StreamId(stream.id))
            }
            fn deadline(&self) -> Option<Tick> {
                self.0.deadline()
            }
            fn on_deadline(&mut self, now: Tick, out: &mut Out<'_>) -> Result<(), ConnectionFault> {
                self.0.on_deadline(now, out)
            }
            fn on_room(&mut self) {
                self.0.parked = false;
            }
        }
    )+};
}

roles! {
    /// One connection of a client.
    Server,
    /// One connection to an upstream. `SendRequest` must follow `open_stream` before the next stream is opened and used:
    /// heads go out in the order of their numbers.
    Client
}
