//! Transcripts: client sends, upstream sees, upstream sends, client sees.

mod born;
mod call;
mod figures;
mod filters;
mod http1;
mod http2;
mod limits;
mod native;
mod random;
mod resend;
mod retry;
mod rpc;
mod rpc_random;
mod rpc_road;
mod sizes;
mod states;
mod tcp;
mod unwritable;
