//! Framed RPC as both programs speak it: whole frames cut out of bytes, requests made once, answers that give a request's body back.

pub mod bolt;
pub mod dubbo;

/// A protocol, and how it is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// SOFABolt 1.
    Bolt,
    /// SOFABolt 2 with a CRC on every frame.
    BoltCrc,
    /// Dubbo 2 with hessian 2.
    Dubbo,
}

/// A frame was not what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// What the answer to a call says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub id: u32,
    /// The call succeeded, and its body came back.
    pub good: bool,
}

impl Speech {
    pub fn named(name: &str) -> Option<Speech> {
        match name {
            "bolt" => Some(Speech::Bolt),
            "bolt-crc" => Some(Speech::BoltCrc),
            "dubbo" => Some(Speech::Dubbo),
            _ => None,
        }
    }

    /// By a connection's first byte.
    pub fn of(first: u8) -> Option<Speech> {
        match first {
            1 => Some(Speech::Bolt),
            2 => Some(Speech::BoltCrc),
            0xda => Some(Speech::Dubbo),
            _ => None,
        }
    }

    /// Size of the frame in front; `None` while too little of it is there.
    pub fn measure(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Speech::Bolt | Speech::BoltCrc => bolt::measure(bytes),
            Speech::Dubbo => dubbo::measure(bytes),
        }
    }

    /// A call with a body of so many bytes.
    pub fn request(self, body: usize) -> Request {
        let mut frame = Vec::new();
        match self {
            Speech::Bolt => bolt::put_request(bolt::Version::One, body, &mut frame),
            Speech::BoltCrc => bolt::put_request(bolt::Version::TwoWithCrc, body, &mut frame),
            Speech::Dubbo => dubbo::put_request(body, &mut frame),
        }
        Request { speech: self, frame, body }
    }

    /// Answers a whole frame, if it wants an answer.
    pub fn answer(self, frame: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
        match self {
            Speech::Bolt | Speech::BoltCrc => bolt::answer(frame, out),
            Speech::Dubbo => dubbo::answer(frame, out),
        }
    }

    /// Reads a whole answer to a call with a body of so many bytes; `None` for a frame that is none.
    pub fn told(self, frame: &[u8], body: usize) -> Option<Told> {
        match self {
            Speech::Bolt | Speech::BoltCrc => bolt::told(frame, body),
            Speech::Dubbo => dubbo::told(frame, body),
        }
    }
}

/// A request, made once.
#[derive(Clone, Debug)]
pub struct Request {
    pub speech: Speech,
    frame: Vec<u8>,
    pub body: usize,
}

impl Request {
    pub fn put(&self, id: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        match self.speech {
            Speech::Bolt | Speech::BoltCrc => bolt::set_id(&mut out[start..], id),
            Speech::Dubbo => dubbo::set_id(&mut out[start..], id),
        }
    }
}

/// Cuts bytes into frames, keeping what is not whole.
#[derive(Debug, Default)]
pub struct Cutter {
    kept: Vec<u8>,
}

impl Cutter {
    pub fn feed(&mut self, speech: Speech, bytes: &[u8], mut take: impl FnMut(&[u8])) {
        if self.kept.is_empty() {
            let used = cut(speech, bytes, &mut take);
            self.kept.extend_from_slice(&bytes[used..]);
            return;
        }
        self.kept.extend_from_slice(bytes);
        let used = cut(speech, &self.kept, &mut take);
        self.kept.drain(..used);
    }
}

fn cut(speech: Speech, bytes: &[u8], take: &mut impl FnMut(&[u8])) -> usize {
    let mut at = 0;
    while let Some(size) = speech.measure(&bytes[at..]) {
        let Some(frame) = bytes.get(at..at + size) else { break };
        take(frame);
        at += size;
    }
    at
}

/// A big-endian number at an offset; missing bytes count as zero.
fn number<const WIDTH: usize>(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + WIDTH).unwrap_or(&[]).iter().fold(0, |found, byte| found << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Speech; 3] = [Speech::Bolt, Speech::BoltCrc, Speech::Dubbo];

    #[test]
    fn every_call_gets_its_body_back_however_the_bytes_are_cut() {
        for (speech, body) in ALL.into_iter().flat_map(|speech| [(speech, 128), (speech, 1_024)]) {
            let request = speech.request(body);
            let mut bytes = Vec::new();
            request.put(7, &mut bytes);
            request.put(0xfedc_ba98, &mut bytes);
            assert_eq!(Speech::of(bytes[0]), Some(speech));
            for at in 0..=bytes.len() {
                let (mut cutter, mut answers) = (Cutter::default(), Vec::new());
                for part in [&bytes[..at], &bytes[at..]] {
                    cutter.feed(speech, part, |frame| speech.answer(frame, &mut answers).unwrap());
                }
                let mut told = Vec::new();
                Cutter::default().feed(speech, &answers, |frame| told.extend(speech.told(frame, body)));
                let expected = [7, 0xfedc_ba98].map(|id| Told { id, good: true });
                assert_eq!(told, expected, "{speech:?} cut at {at}");
            }
        }
    }

    #[test]
    fn an_answer_with_another_body_or_status_is_no_good_one() {
        for speech in ALL {
            let (mut call, mut answer) = (Vec::new(), Vec::new());
            speech.request(128).put(7, &mut call);
            speech.answer(&call, &mut answer).unwrap();
            assert_eq!(speech.told(&answer, 127), Some(Told { id: 7, good: false }));
            let status = match speech {
                Speech::Bolt => 11,
                Speech::BoltCrc => 13,
                Speech::Dubbo => 3,
            };
            answer[status] ^= 1;
            assert_eq!(speech.told(&answer, 128), Some(Told { id: 7, good: false }), "{speech:?}");
        }
    }

    #[test]
    fn a_crc_covers_the_frame() {
        let (mut call, mut answer) = (Vec::new(), Vec::new());
        Speech::BoltCrc.request(16).put(7, &mut call);
        let last = call.len() - 5;
        call[last] ^= 1;
        assert_eq!(Speech::BoltCrc.answer(&call, &mut answer), Err(Broken));
    }
}
