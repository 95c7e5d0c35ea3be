//! Turns tokens into selectors.

use super::scan::{Next, Scanned, Scanner, Token};
use super::unquote::unquote;
use super::{FilterError, Selector, Test};

/// Reads one filter; the empty one has no selectors.
pub(super) fn filter(input: &str) -> Result<Vec<Selector>, FilterError> {
    if input.is_empty() {
        return Ok(Vec::new());
    }
    Parser { input, scanner: Scanner::new(input) }.selectors()
}

struct Parser<'a> {
    input: &'a str,
    scanner: Scanner<'a>,
}

impl Parser<'_> {
    fn selectors(&mut self) -> Result<Vec<Selector>, FilterError> {
        let mut all = vec![self.selector()?];
        loop {
            match self.scanner.peek() {
                Next::Eof => return Ok(all),
                Next::Char(',') => {
                    self.scanner.scan();
                    all.push(self.selector()?);
                }
                other => {
                    let shown = if let Next::Char(c) = other { c } else { char::REPLACEMENT_CHARACTER };
                    return Err(self.fail(self.scanner.end(), format!("unexpected input: {shown}")));
                }
            }
        }
    }

    fn selector(&mut self) -> Result<Selector, FilterError> {
        let path = self.path()?;
        let test = match self.scanner.peek() {
            Next::Char(',') | Next::Eof => Test::Present,
            _ => self.test()?,
        };
        Ok(Selector { path, test })
    }

    fn path(&mut self) -> Result<Vec<String>, FilterError> {
        let mut path = vec![self.field()?];
        while self.scanner.peek() == Next::Char('.') {
            self.scanner.scan();
            path.push(self.field()?);
        }
        Ok(path)
    }

    fn field(&mut self) -> Result<String, FilterError> {
        let scanned = self.scanner.scan();
        match scanned.token {
            Token::Field => Ok(scanned.text.to_owned()),
            // a name that is not UTF-8 is no field's
            Token::Quoted => self.unquoted(&scanned, false).map(|b| String::from_utf8_lossy(&b).into_owned()),
            _ => Err(self.unexpected(&scanned, "expected field or quoted")),
        }
    }

    /// Operator and value.
    fn test(&mut self) -> Result<Test, FilterError> {
        let scanned = self.scanner.scan();
        if scanned.token != Token::Operator {
            return Err(self.unexpected(&scanned, r#"expected an operator ("=="|"!="|"~=")"#));
        }
        match scanned.text {
            "==" => self.value(false).map(Test::Equal),
            "!=" => self.value(false).map(Test::NotEqual),
            "~=" => self.value(true).map(|v| Test::regex(&v)),
            other => Err(self.fail(scanned.position, format!("unsupported operator {other:?}"))),
        }
    }

    fn value(&mut self, any_quote: bool) -> Result<Vec<u8>, FilterError> {
        let scanned = self.scanner.scan();
        match scanned.token {
            Token::Value | Token::Field => Ok(scanned.text.as_bytes().to_vec()),
            Token::Quoted => self.unquoted(&scanned, any_quote),
            _ => Err(self.unexpected(&scanned, "expected value or quoted")),
        }
    }

    fn unquoted(&self, scanned: &Scanned<'_>, any_quote: bool) -> Result<Vec<u8>, FilterError> {
        if !any_quote && !scanned.text.starts_with('"') {
            return Err(self.fail(scanned.position, "invalid quote encountered".to_owned()));
        }
        unquote(scanned.text)
            .ok_or_else(|| self.fail(scanned.position, "unquoting failed: quote syntax error".to_owned()))
    }

    fn unexpected(&self, scanned: &Scanned<'_>, expected: &str) -> FilterError {
        let message = if scanned.token == Token::Illegal { self.scanner.error() } else { expected };
        self.fail(scanned.position, message.to_owned())
    }

    fn fail(&self, position: usize, message: String) -> FilterError {
        FilterError { input: self.input.to_owned(), position, message }
    }
}
