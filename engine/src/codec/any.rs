//! All codecs in one type: what the worker keeps in a connection's slot, without a pointer to follow per event.

use super::contract::{Accepted, Codec, Command, ConnectionFault, Ending, Event, Input, Refused, StreamId};
use super::{h1, h2, native, rpc, tcp};
use crate::bytes::Out;
use crate::message::Tick;

macro_rules! codecs {
    ($($variant:ident($type:ty)),+ $(,)?) => {
        /// The codec of a connection, whichever it is.
        #[derive(Debug)]
        pub enum AnyCodec { $($variant($type)),+ }

        $(impl From<$type> for AnyCodec {
            fn from(codec: $type) -> Self { Self::$variant(codec) }
        })+

        impl Codec for AnyCodec {
            fn next_event<'b>(
                &mut self, input: &mut Input<'b>, out: &mut Out<'_>, now: Tick,
            ) -> Result<Option<Event<'b>>, ConnectionFault> {
                match self { $(Self::$variant(codec) => codec.next_event(input, out, now)),+ }
            }
            fn perform(&mut self, command: Command<'_>, out: &mut Out<'_>, now: Tick) -> Result<Accepted, Refused> {
                match self { $(Self::$variant(codec) => codec.perform(command, out, now)),+ }
            }
            fn open_stream(&mut self) -> Option<StreamId> {
                match self { $(Self::$variant(codec) => codec.open_stream()),+ }
            }
            fn open_streams(&self) -> usize {
                match self { $(Self::$variant(codec) => codec.open_streams()),+ }
            }
            fn ending(&self) -> Ending {
                match self { $(Self::$variant(codec) => codec.ending()),+ }
            }
            fn wants_input(&self) -> bool {
                match self { $(Self::$variant(codec) => codec.wants_input()),+ }
            }
            fn next_reset(&mut self) -> Option<StreamId> {
                match self { $(Self::$variant(codec) => codec.next_reset()),+ }
            }
            fn deadline(&self) -> Option<Tick> {
                match self { $(Self::$variant(codec) => codec.deadline()),+ }
            }
            fn on_deadline(&mut self, now: Tick, out: &mut Out<'_>) -> Result<(), ConnectionFault> {
                match self { $(Self::$variant(codec) => codec.on_deadline(now, out)),+ }
            }
            fn on_room(&mut self) {
                match self { $(Self::$variant(codec) => codec.on_room()),+ }
            }
        }
    };
}

codecs! {
    Tcp(tcp::Connection),
    Http1Server(h1::Server),
    Http1Client(h1::Client),
    Http2Server(h2::Server),
    Http2Client(h2::Client),
    Rpc(rpc::Connection),
    Native(Box<dyn native::NativeCodec>),
}
