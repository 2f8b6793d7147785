//! Transcripts: client sends, upstream sees, upstream sends, client sees.

mod http1;
