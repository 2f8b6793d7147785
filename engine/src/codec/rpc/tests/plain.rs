//! Short ways beside the long ones: what is known of a description beforehand gives what is reckoned field by field.

use std::sync::Arc;

use proptest::prelude::*;

use super::bolt::plus;
use super::life::head_of;
use super::plan;
use crate::codec::rpc::calls::Kept;
use crate::codec::rpc::layout::Layout;
use crate::codec::rpc::place::{Place, read_number};
use crate::codec::rpc::{Connection, compile};
use crate::codec::testing::Bench;
use crate::plan::{RpcKind, RpcOpening, RpcPattern};

proptest! {
    #[test]
    fn plain_lengths_lay_a_frame_as_lengths_do(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        for name in ["bolt", "dubbo", "thrift", "volt"] {
            let (plain, mut reckoned) = (compile(&plan(name)).unwrap(), compile(&plan(name)).unwrap());
            for (shape, long) in plain.shapes.iter().zip(&mut reckoned.shapes) {
                long.plain_lengths = None;
                let (mut layout, mut expected) = (Layout::default(), Layout::default());
                prop_assert_eq!(shape.measure(&bytes, &mut layout), long.measure(&bytes, &mut expected));
                prop_assert_eq!(layout, expected);
            }
        }
    }

    #[test]
    fn a_number_is_read_by_its_word_as_by_its_bytes(
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
        (offset, width) in (0u32..40, 1u8..=8),
        little: bool,
    ) {
        let start = offset as usize;
        let expected =
            bytes.get(start..start + usize::from(width)).and_then(|bytes| read_number(bytes, little));
        let place = Place::new(0, offset, width, little);
        prop_assert_eq!(place.read(&bytes, &Layout::default()), expected);
    }

    #[test]
    fn what_is_kept_of_a_frame_is_its_beginning(
        frame in proptest::collection::vec(any::<u8>(), 0..60),
        length in 0usize..60,
    ) {
        let expected = frame.get(..length).unwrap_or(&frame);
        let (kept, copied) = (Kept::of(&frame, length), Kept::new(expected));
        prop_assert_eq!(kept.bytes(), expected);
        prop_assert_eq!(copied.bytes(), expected);
    }
}

#[test]
fn the_shapes_of_bolt_have_plain_lengths() {
    assert!(compile(&plan("bolt")).unwrap().shapes.iter().all(|shape| shape.plain_lengths.is_some()));
}

#[test]
fn what_the_last_frame_was_does_not_hide_what_stands_in_front_of_it() {
    let mut plan = plan("bolt");
    // Of version 1, whatever command; behind all that know theirs.
    let pattern = RpcPattern { mask: vec![0xff], value: vec![1] };
    let shape = plan.openings[0].shape;
    plan.openings.push(RpcOpening { pattern, shape, frame: RpcKind::OneWay });
    let mut server = Bench::new(Connection::server(Arc::new(compile(&plan).unwrap())));
    let mut unknown = plus(1);
    unknown[3] = 7;
    let is_one_way = [&unknown, &plus(2), &unknown].map(|frame| head_of(&mut server, frame).one_way);
    assert_eq!(is_one_way, [true, false, true]);
}
