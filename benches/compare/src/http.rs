//! As much of HTTP/1.1 as a client needs that knows its servers: heads, lengths, chunks.

use memchr::memmem;

/// How a response's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
    /// With the connection.
    Close,
}

/// A response's head.
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Bytes through the empty line.
    pub(crate) len: usize,
    pub(crate) framing: Framing,
}

/// The head at the start of `bytes`, or `None` while it is not whole.
pub(crate) fn head(bytes: &[u8]) -> Option<Head> {
    let len = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let status = std::str::from_utf8(bytes.get(9..12)?).ok()?.parse().unwrap_or(0);
    let mut framing = if status == 204 || status == 304 { Framing::Length(0) } else { Framing::Close };
    for line in bytes[..len].split(|&byte| byte == b'\n') {
        if let Some(value) = field(line, b"content-length:") {
            framing = Framing::Length(std::str::from_utf8(value).ok()?.trim().parse().ok()?);
        } else if field(line, b"transfer-encoding:").is_some() {
            framing = Framing::Chunked;
        }
    }
    Some(Head { status, len, framing })
}

fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(value)
}

impl Head {
    /// Bytes of the whole message if all of it is in `bytes`. For small answers only: it looks at
    /// the end of what is there, where a body of chunks must end.
    pub(crate) fn message_len(&self, bytes: &[u8]) -> Option<usize> {
        match self.framing {
            Framing::Length(body) => (bytes.len() >= self.len + body).then_some(self.len + body),
            Framing::Chunked => bytes.ends_with(b"0\r\n\r\n").then_some(bytes.len()),
            Framing::Close => None,
        }
    }
}

/// Takes the framing off a body that arrives in pieces.
pub(crate) struct Body {
    framing: Framing,
    /// Payload bytes until the next frame of chunks, or until the end of a body of known length.
    left: usize,
    /// The part of a chunk's size line that the last piece ended in.
    line: Vec<u8>,
    pub(crate) ended: bool,
}

impl Body {
    pub(crate) fn new(framing: Framing) -> Self {
        let left = match framing {
            Framing::Length(len) => len,
            Framing::Chunked => 0,
            Framing::Close => usize::MAX,
        };
        Self { framing, left, line: Vec::new(), ended: left == 0 && framing != Framing::Chunked }
    }

    /// Hands the payload in `piece` to `take`, in order.
    pub(crate) fn feed(&mut self, mut piece: &[u8], mut take: impl FnMut(&[u8])) {
        while !piece.is_empty() && !self.ended {
            if self.left == 0 {
                piece = self.size_line(piece);
                continue;
            }
            let (payload, rest) = piece.split_at(self.left.min(piece.len()));
            take(payload);
            self.left -= payload.len();
            piece = rest;
            self.ended = self.left == 0 && self.framing != Framing::Chunked;
        }
    }

    /// Collects a chunk's size line, with the line end of the chunk before it, and returns what
    /// follows it.
    fn size_line<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let end = piece.iter().position(|&byte| byte == b'\n').map_or(piece.len(), |at| at + 1);
        self.line.extend_from_slice(&piece[..end]);
        let text = self.line.trim_ascii();
        if self.line.ends_with(b"\n") && !text.is_empty() {
            let size = text.split(|&byte| byte == b';').next().and_then(|hex| std::str::from_utf8(hex).ok());
            self.left = size.and_then(|hex| usize::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
            self.ended = self.left == 0;
            self.line.clear();
        } else if self.line.ends_with(b"\n") {
            self.line.clear();
        }
        &piece[end..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_join_wherever_the_pieces_are_cut() {
        let wire = b"5\r\nhello\r\nA;x=1\r\n, world!!!\r\n0\r\n\r\n";
        for cut in 0..wire.len() {
            let mut body = Body::new(Framing::Chunked);
            let mut seen = Vec::new();
            body.feed(&wire[..cut], |bytes| seen.extend_from_slice(bytes));
            body.feed(&wire[cut..], |bytes| seen.extend_from_slice(bytes));
            assert_eq!(seen, b"hello, world!!!", "cut at {cut}");
            assert!(body.ended, "cut at {cut}");
        }
    }

    #[test]
    fn a_head_says_how_its_body_ends() {
        let framing = |text: &str| head(text.as_bytes()).unwrap().framing;
        assert_eq!(framing("HTTP/1.1 200 OK\r\nCONTENT-length: 12\r\n\r\n"), Framing::Length(12));
        assert_eq!(framing("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"), Framing::Chunked);
        assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n"), Framing::Close);
        assert!(head(b"HTTP/1.1 200 OK\r\n").is_none());
    }
}
