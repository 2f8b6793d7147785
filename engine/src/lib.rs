//! The data plane of Mainstay.
