//! Plans as they cross the border. What decodes encodes to the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_engine::plan;

fuzz_target!(|bytes: &[u8]| {
    macro_rules! decode {
        ($($kind:ident),+) => {$(
            if let Ok(value) = rmp_serde::from_slice::<plan::$kind>(bytes) {
                let again = rmp_serde::to_vec_named(&value).and_then(|bytes| Ok(rmp_serde::from_slice::<plan::$kind>(&bytes)));
                if let Ok(Ok(again)) = again {
                    assert_eq!(format!("{again:?}"), format!("{value:?}"));
                }
            }
        )+};
    }
    decode!(Delta, Listener, RouteTable, Cluster, Endpoints, Secret);
});
