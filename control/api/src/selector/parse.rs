//! The grammar of label selectors. One pass, no recursion, so that length is the
//! only cost of a hostile text.

use std::collections::BTreeSet;

use super::SelectorError;
use super::labels::{Operator, Requirement};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Symbol(&'static str),
    End,
}

impl Token<'_> {
    fn text(&self) -> &str {
        match self {
            Token::Word(word) => word,
            Token::Symbol(symbol) => symbol,
            Token::End => "",
        }
    }
}

/// Longest first, so that `==` is not read as two `=`.
const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", "<", ">"];

pub(super) struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Parser { rest: text }
    }

    pub(super) fn requirements(mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut requirements = Vec::new();
        if self.peek() == Token::End {
            return Ok(requirements);
        }
        loop {
            requirements.push(self.requirement()?);
            match self.next() {
                Token::End => return Ok(requirements),
                Token::Symbol(",") => {}
                other => return Err(unexpected(&other, "',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if self.peek() == Token::Symbol("!") {
            self.next();
            let key = self.word("identifier")?;
            return Requirement::new(key, Operator::DoesNotExist, BTreeSet::new());
        }
        let key = self.word("!, identifier, or 'end of string'")?;
        let operator = match self.peek() {
            Token::End | Token::Symbol(",") => {
                return Requirement::new(key, Operator::Exists, BTreeSet::new());
            }
            Token::Symbol("=" | "==") => Operator::Equals,
            Token::Symbol("!=") => Operator::NotEquals,
            Token::Symbol("<") => Operator::LessThan,
            Token::Symbol(">") => Operator::GreaterThan,
            Token::Word("in") => Operator::In,
            Token::Word("notin") => Operator::NotIn,
            other => return Err(unexpected(&other, "in, notin, =, ==, !=, gt, lt")),
        };
        self.next();
        let values = match operator {
            Operator::In | Operator::NotIn => self.set()?,
            _ => [self.value()].into(),
        };
        Requirement::new(key, operator, values)
    }

    /// What follows `=`: a word, or nothing, which is the empty value.
    fn value(&mut self) -> String {
        match self.peek() {
            Token::Word(word) => {
                self.next();
                word.to_owned()
            }
            _ => String::new(),
        }
    }

    /// `(a,b)`; nothing between two commas is the empty value.
    fn set(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return Err(unexpected(&other, "'('")),
        }
        let mut values = BTreeSet::new();
        loop {
            values.insert(self.value());
            match self.next() {
                Token::Symbol(",") => {}
                Token::Symbol(")") => return Ok(values),
                other => return Err(unexpected(&other, "',' or ')'")),
            }
        }
    }

    fn word(&mut self, expected: &str) -> Result<&'a str, SelectorError> {
        match self.next() {
            Token::Word(word) => Ok(word),
            other => Err(unexpected(&other, expected)),
        }
    }

    fn peek(&self) -> Token<'a> {
        let rest = self.rest.trim_start_matches(is_space);
        if rest.is_empty() {
            return Token::End;
        }
        if let Some(symbol) = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
            return Token::Symbol(symbol);
        }
        let end = rest
            .find(|c| is_space(c) || matches!(c, '=' | '!' | '(' | ')' | ',' | '<' | '>'))
            .unwrap_or(rest.len());
        Token::Word(&rest[..end])
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.rest = &self.rest.trim_start_matches(is_space)[token.text().len()..];
        token
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn unexpected(found: &Token<'_>, expected: &str) -> SelectorError {
    SelectorError::Parse(format!("found '{}', expected: {expected}", found.text()))
}
