//! Cuts a filter into tokens.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Eof,
    Quoted,
    Value,
    Field,
    Separator,
    Operator,
    Illegal,
    /// A character that starts no token.
    Other,
}

/// The next character, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Char(char),
    Eof,
    Illegal,
}

impl Next {
    fn is(self, test: impl Fn(char) -> bool) -> bool {
        matches!(self, Next::Char(c) if test(c))
    }
}

/// A token: where it starts and its text.
pub(super) struct Scanned<'a> {
    pub(super) position: usize,
    pub(super) token: Token,
    pub(super) text: &'a str,
}

/// Walks over a filter.
pub(super) struct Scanner<'a> {
    input: &'a str,
    /// Start of the current character.
    start: usize,
    /// End of the current character: where the next one starts.
    end: usize,
    /// An operator was read: what follows is a value.
    in_value: bool,
    /// What first went wrong.
    error: Option<&'static str>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(input: &'a str) -> Self {
        Scanner { input, start: 0, end: 0, in_value: false, error: None }
    }

    /// What went wrong in an `Illegal` token.
    pub(super) fn error(&self) -> &'static str {
        self.error.unwrap_or_default()
    }

    /// Byte offset of the next character.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// The next character without taking it.
    pub(super) fn peek(&mut self) -> Next {
        let saved = (self.start, self.end);
        let next = self.next();
        (self.start, self.end) = saved;
        next
    }

    /// Takes one token.
    pub(super) fn scan(&mut self) -> Scanned<'a> {
        let mut next = self.next();
        while next.is(char::is_whitespace) {
            next = self.next();
        }
        let position = self.start;
        let token = match next {
            Next::Eof => Token::Eof,
            Next::Illegal => Token::Illegal,
            Next::Char(c) => self.token(c),
        };
        let text = match token {
            Token::Eof | Token::Other => "",
            _ => &self.input[position..self.end],
        };
        Scanned { position, token, text }
    }

    fn token(&mut self, first: char) -> Token {
        match first {
            '/' | '|' | '"' if self.quoted(first) => Token::Quoted,
            '/' | '|' | '"' => Token::Illegal,
            ',' | '.' => {
                self.in_value = false;
                Token::Separator
            }
            '=' | '!' | '~' => {
                self.take_while(|c| matches!(c, '=' | '!' | '~'));
                self.in_value = true;
                Token::Operator
            }
            _ if self.in_value => {
                self.take_while(is_value);
                self.in_value = false;
                Token::Value
            }
            c if is_field(c) => {
                self.take_while(is_field);
                Token::Field
            }
            _ => Token::Other,
        }
    }

    fn next(&mut self) -> Next {
        if self.start >= self.input.len() {
            return Next::Eof;
        }
        self.start = self.end;
        let Some(c) = self.input[self.end..].chars().next() else {
            return Next::Eof;
        };
        self.end += c.len_utf8();
        match c {
            char::REPLACEMENT_CHARACTER => self.fail("rune error"),
            '\0' => self.fail("unexpected null"),
            c => Next::Char(c),
        }
    }

    fn fail(&mut self, message: &'static str) -> Next {
        self.error.get_or_insert(message);
        Next::Illegal
    }

    fn take_while(&mut self, test: impl Fn(char) -> bool) {
        while self.peek().is(&test) {
            self.next();
        }
    }

    /// Takes the rest of a quoted text; false when it has no end or a wrong escape.
    fn quoted(&mut self, quote: char) -> bool {
        let mut legal = true;
        let mut next = self.next();
        while next != Next::Char(quote) {
            match next {
                Next::Char('\\') => {
                    let (after, ok) = self.escape(quote);
                    next = after;
                    legal &= ok;
                }
                Next::Char('\n') | Next::Eof | Next::Illegal => {
                    self.fail("quoted literal not terminated");
                    return false;
                }
                Next::Char(_) => next = self.next(),
            }
        }
        legal
    }

    /// Takes an escape after its backslash; gives the character after it, and whether it was right.
    fn escape(&mut self, quote: char) -> (Next, bool) {
        let next = self.next();
        match next {
            Next::Char(c) if c == quote || "abfnrtv\\".contains(c) => (self.next(), true),
            Next::Char('0'..='7') => self.digits(next, 8, 3),
            Next::Char(c @ ('x' | 'u' | 'U')) => {
                let first = self.next();
                let count = match c {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                self.digits(first, 16, count)
            }
            _ => {
                self.fail("illegal escape sequence");
                (next, false)
            }
        }
    }

    fn digits(&mut self, mut next: Next, base: u32, mut count: u32) -> (Next, bool) {
        while count > 0 && next.is(|c| c.is_digit(base)) {
            next = self.next();
            count -= 1;
        }
        if count > 0 {
            self.fail("illegal numeric escape sequence");
        }
        (next, count == 0)
    }
}

fn is_field(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

/// Characters of a bare value: all that can be seen, but for the comma and spaces.
fn is_value(c: char) -> bool {
    c != ',' && !c.is_whitespace() && !c.is_control() && !is_format_or_private(c)
}

/// Unicode's categories Cf and Co.
fn is_format_or_private(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}'
        | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}')
}
