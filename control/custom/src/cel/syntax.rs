//! Expressions, read. Follows the grammar of the CEL language definition
//! (<https://github.com/google/cel-spec/blob/master/doc/langdef.md>), with the macros that Kubernetes turns on.

use super::value::Value;

/// Expressions inside one another; cel-go's bound is 250. Each takes some stack to read and to evaluate.
const DEPTH_MAX: usize = 100;

/// The longest expression, in bytes.
const SOURCE_BYTES_MAX: usize = 64 << 10;

/// An expression.
#[derive(Debug)]
pub(super) enum Expr {
    Literal(Value),
    Ident(String),
    /// `a.b`, or `a.?b`.
    Select(Box<Expr>, String, bool),
    /// `has(a.b)`
    Has(Box<Expr>, String),
    /// `a[b]`, or `a[?b]`.
    Index(Box<Expr>, Box<Expr>, bool),
    /// `f(x)`, or `a.f(x)`.
    Call(String, Option<Box<Expr>>, Vec<Expr>),
    /// Items; true for one that is optional (`?x`).
    List(Vec<(bool, Expr)>),
    Map(Vec<(bool, Expr, Expr)>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Conditional(Box<[Expr; 3]>),
    /// A macro over the items of a list or the entries of a map.
    Each(Box<Each>),
    /// `cel.bind(name, value, in)`
    Bind(String, Box<Expr>, Box<Expr>),
    /// `o.optMap(name, e)`; true for `optFlatMap`.
    OptMap(Box<Expr>, String, Box<Expr>, bool),
}

#[derive(Debug)]
pub(super) struct Each {
    pub(super) what: What,
    pub(super) over: Expr,
    /// One variable for the item (or key), or two for index (or key) and item.
    pub(super) names: Vec<String>,
    pub(super) filter: Option<Expr>,
    pub(super) body: Expr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
    SortBy,
    TransformMap,
}

/// Reads an expression.
///
/// # Errors
/// Where and what, as `ERROR: <input>:1:5: Syntax error: ...`.
pub(super) fn parse(source: &str) -> Result<Expr, String> {
    if source.len() > SOURCE_BYTES_MAX {
        return Err(format!(
            "ERROR: the expression is {} bytes long, and may be {SOURCE_BYTES_MAX}",
            source.len()
        ));
    }
    let tokens = lex(source)?;
    let mut parser = Parser {
        source,
        tokens,
        at: 0,
        depth: 0,
    };
    let expr = parser.expr()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected()),
    }
}

#[derive(Debug, Clone)]
enum Token {
    Ident(String),
    Literal(Value),
    Sign(&'static str),
    End,
}

const SIGNS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}",
];

fn error_at(source: &str, at: usize, what: &str) -> String {
    let before = &source[..at.min(source.len())];
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    format!("ERROR: <input>:{line}:{column}: Syntax error: {what}")
}

fn lex(source: &str) -> Result<Vec<(Token, usize)>, String> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = source[at..].chars().next() {
        let start = at;
        let rest = &source[at..];
        if c.is_whitespace() {
            at += c.len_utf8();
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if let Some((token, length)) = text(rest).map_err(|e| error_at(source, at, &e))? {
            tokens.push((token, start));
            at += length;
        } else if c.is_ascii_digit()
            || (c == '.' && rest[1..].starts_with(|d: char| d.is_ascii_digit()))
        {
            let (token, length) = number(rest).map_err(|e| error_at(source, at, &e))?;
            tokens.push((token, start));
            at += length;
        } else if c.is_ascii_alphabetic() || c == '_' {
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            let word = &rest[..end];
            tokens.push((
                match word {
                    "true" => Token::Literal(Value::Bool(true)),
                    "false" => Token::Literal(Value::Bool(false)),
                    "null" => Token::Literal(Value::Null),
                    "in" => Token::Sign("in"),
                    word => Token::Ident(word.to_owned()),
                },
                start,
            ));
            at += end;
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            tokens.push((Token::Sign(sign), start));
            at += sign.len();
        } else {
            return Err(error_at(
                source,
                at,
                &format!("token recognition error at: '{c}'"),
            ));
        }
    }
    tokens.push((Token::End, source.len()));
    Ok(tokens)
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let bad = |text: &str| format!("invalid number {text:?}");
    if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
        let end = hex
            .find(|c: char| !c.is_ascii_hexdigit())
            .unwrap_or(hex.len());
        let digits = &hex[..end];
        if hex[end..].starts_with(['u', 'U']) {
            let value = u64::from_str_radix(digits, 16).map_err(|_| bad(digits))?;
            return Ok((Token::Literal(Value::Uint(value)), end + 3));
        }
        let value = i64::from_str_radix(digits, 16).map_err(|_| bad(digits))?;
        return Ok((Token::Literal(Value::Int(value)), end + 2));
    }
    let bytes = rest.as_bytes();
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let mut end = digits(0);
    let mut real = false;
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        real = true;
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
            real = true;
            end = digits(end + 1 + sign);
        }
    }
    let text = &rest[..end];
    if real {
        let value = text.parse().map_err(|_| bad(text))?;
        return Ok((Token::Literal(Value::Double(value)), end));
    }
    if matches!(bytes.get(end), Some(b'u' | b'U')) {
        let value = text.parse().map_err(|_| bad(text))?;
        return Ok((Token::Literal(Value::Uint(value)), end + 1));
    }
    // The least integer is written with a minus before a number that is none by itself.
    match text.parse::<i64>() {
        Ok(value) => Ok((Token::Literal(Value::Int(value)), end)),
        Err(_) if text == "9223372036854775808" => Ok((Token::Literal(Value::Int(i64::MIN)), end)),
        Err(_) => Err(bad(text)),
    }
}

/// A text or bytes in any of their quotes; `None` if none begins here.
fn text(rest: &str) -> Result<Option<(Token, usize)>, String> {
    let mut at = 0;
    let (mut raw, mut bytes) = (false, false);
    while let Some(c) = rest[at..].chars().next() {
        match c {
            'r' | 'R' if !raw => raw = true,
            'b' | 'B' if !bytes => bytes = true,
            _ => break,
        }
        at += 1;
    }
    let Some(quote) = rest[at..]
        .chars()
        .next()
        .filter(|c| matches!(c, '\'' | '"'))
    else {
        return Ok(None);
    };
    let triple: String = std::iter::repeat_n(quote, 3).collect();
    let end: &str = if rest[at..].starts_with(&triple) {
        &triple
    } else {
        &triple[..1]
    };
    at += end.len();
    let mut out = Vec::new();
    loop {
        if rest[at..].starts_with(end) {
            at += end.len();
            break;
        }
        let Some(c) = rest[at..].chars().next() else {
            return Err("a text is not closed".to_owned());
        };
        at += c.len_utf8();
        if c == '\n' && end.len() == 1 {
            return Err("a text is not closed on its line".to_owned());
        }
        if c != '\\' || raw {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        at += escape(&rest[at..], bytes, &mut out)?;
    }
    let token = if bytes {
        Value::Bytes(out.into())
    } else {
        let text = String::from_utf8(out).map_err(|_| "a text is not UTF-8".to_owned())?;
        Value::String(text.into())
    };
    Ok(Some((Token::Literal(token), at)))
}

/// What follows a backslash; returns its length.
fn escape(rest: &str, bytes: bool, out: &mut Vec<u8>) -> Result<usize, String> {
    let bad = || format!("invalid escape \\{}", rest.chars().next().unwrap_or(' '));
    let c = rest.chars().next().ok_or_else(bad)?;
    let simple = match c {
        'n' => Some(b'\n'),
        't' => Some(b'\t'),
        'r' => Some(b'\r'),
        'a' => Some(7),
        'b' => Some(8),
        'f' => Some(12),
        'v' => Some(11),
        '\\' | '\'' | '"' | '`' | '?' => Some(c as u8),
        _ => None,
    };
    if let Some(byte) = simple {
        out.push(byte);
        return Ok(1);
    }
    let (skip, length, radix) = match c {
        'x' | 'X' => (1, 2, 16),
        'u' => (1, 4, 16),
        'U' => (1, 8, 16),
        '0'..='3' => (0, 3, 8),
        _ => return Err(bad()),
    };
    let digits = rest.get(skip..skip + length).ok_or_else(bad)?;
    let code = u32::from_str_radix(digits, radix).map_err(|_| bad())?;
    match u8::try_from(code) {
        Ok(byte) if bytes => out.push(byte),
        _ => {
            let c = char::from_u32(code).ok_or_else(bad)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Ok(skip + length)
}

struct Parser<'a> {
    source: &'a str,
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)].0
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn eat(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek(), Token::Sign(s) if *s == sign);
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        match self.eat(sign) {
            true => Ok(()),
            false => Err(self.unexpected()),
        }
    }

    fn error(&self, what: &str) -> String {
        let at = self.tokens[self.at.min(self.tokens.len() - 1)].1;
        error_at(self.source, at, what)
    }

    fn unexpected(&self) -> String {
        match self.peek() {
            Token::End => self.error("mismatched input '<EOF>'"),
            Token::Sign(sign) => self.error(&format!("extraneous input '{sign}'")),
            Token::Ident(name) => self.error(&format!("extraneous input '{name}'")),
            Token::Literal(_) => self.error("extraneous input"),
        }
    }

    fn expr(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error(&format!("expression recursion limit exceeded: {DEPTH_MAX}")));
        }
        let condition = self.or()?;
        let expr = if self.eat("?") {
            let then = self.or()?;
            self.expect(":")?;
            Expr::Conditional(Box::new([condition, then, self.expr()?]))
        } else {
            condition
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn or(&mut self) -> Result<Expr, String> {
        let mut terms = vec![self.and()?];
        while self.eat("||") {
            terms.push(self.and()?);
        }
        Ok(balanced(terms, &|a, b| Expr::Or(Box::new(a), Box::new(b))))
    }

    fn and(&mut self) -> Result<Expr, String> {
        let mut terms = vec![self.relation()?];
        while self.eat("&&") {
            terms.push(self.relation()?);
        }
        Ok(balanced(terms, &|a, b| Expr::And(Box::new(a), Box::new(b))))
    }

    fn relation(&mut self) -> Result<Expr, String> {
        self.chain(&["==", "!=", "<=", ">=", "<", ">", "in"], |p| {
            p.chain(&["+", "-"], |p| p.chain(&["*", "/", "%"], Self::unary))
        })
    }

    /// Operators of one rank, from the left.
    fn chain(
        &mut self,
        signs: &[&'static str],
        mut operand: impl FnMut(&mut Self) -> Result<Expr, String>,
    ) -> Result<Expr, String> {
        let mut left = operand(self)?;
        let mut length = 0;
        loop {
            let Some(sign) = signs.iter().find(|sign| self.eat(sign)) else {
                return Ok(left);
            };
            length += 1;
            if length > DEPTH_MAX {
                return Err(self.error("too many operators in a row"));
            }
            let right = operand(self)?;
            left = Expr::Call((*sign).to_owned(), None, vec![left, right]);
        }
    }

    fn unary(&mut self) -> Result<Expr, String> {
        let mut signs = Vec::new();
        while let Some(sign) = ["!", "-"].into_iter().find(|sign| self.eat(sign)) {
            signs.push(sign);
            if signs.len() > DEPTH_MAX {
                return Err(self.error("too many operators in a row"));
            }
        }
        let mut expr = self.member()?;
        for sign in signs.into_iter().rev() {
            expr = match (sign, expr) {
                ("-", Expr::Literal(Value::Int(n))) => Expr::Literal(Value::Int(n.wrapping_neg())),
                ("-", Expr::Literal(Value::Double(n))) => Expr::Literal(Value::Double(-n)),
                ("!", expr) => Expr::Call("!".to_owned(), None, vec![expr]),
                (_, expr) => Expr::Call("neg".to_owned(), None, vec![expr]),
            };
        }
        Ok(expr)
    }

    fn member(&mut self) -> Result<Expr, String> {
        let mut expr = self.primary()?;
        let mut length = 0;
        loop {
            length += 1;
            if length > DEPTH_MAX {
                return Err(self.error("too many members in a row"));
            }
            if self.eat(".") {
                let optional = self.eat("?");
                let Token::Ident(name) = self.next() else {
                    self.at -= 1;
                    return Err(self.unexpected());
                };
                expr = if !optional && self.eat("(") {
                    let args = self.args(")")?;
                    self.call(name, Some(expr), args)?
                } else {
                    Expr::Select(Box::new(expr), name, optional)
                };
            } else if self.eat("[") {
                let optional = self.eat("?");
                let index = self.expr()?;
                self.expect("]")?;
                expr = Expr::Index(Box::new(expr), Box::new(index), optional);
            } else {
                return Ok(expr);
            }
        }
    }

    fn args(&mut self, end: &str) -> Result<Vec<Expr>, String> {
        let mut args = Vec::new();
        while !self.eat(end) {
            if !args.is_empty() {
                self.expect(",")?;
            }
            args.push(self.expr()?);
        }
        Ok(args)
    }

    fn primary(&mut self) -> Result<Expr, String> {
        // A leading dot names what is at the top, which everything here is.
        self.eat(".");
        if self.eat("(") {
            let expr = self.expr()?;
            self.expect(")")?;
            return Ok(expr);
        }
        if self.eat("[") {
            let mut items = Vec::new();
            while !self.eat("]") {
                if !items.is_empty() {
                    self.expect(",")?;
                    if self.eat("]") {
                        break;
                    }
                }
                items.push((self.eat("?"), self.expr()?));
            }
            return Ok(Expr::List(items));
        }
        if self.eat("{") {
            let mut entries = Vec::new();
            while !self.eat("}") {
                if !entries.is_empty() {
                    self.expect(",")?;
                    if self.eat("}") {
                        break;
                    }
                }
                let optional = self.eat("?");
                let key = self.expr()?;
                self.expect(":")?;
                entries.push((optional, key, self.expr()?));
            }
            return Ok(Expr::Map(entries));
        }
        match self.next() {
            Token::Literal(value) => Ok(Expr::Literal(value)),
            Token::Ident(name) if self.eat("(") => {
                let args = self.args(")")?;
                self.call(name, None, args)
            }
            Token::Ident(name) => Ok(Expr::Ident(name)),
            _ => {
                self.at -= 1;
                Err(self.unexpected())
            }
        }
    }

    /// A call, or what a macro makes of it.
    fn call(
        &self,
        name: String,
        target: Option<Expr>,
        mut args: Vec<Expr>,
    ) -> Result<Expr, String> {
        let variable = |expr: &Expr| match expr {
            Expr::Ident(name) => Ok(name.clone()),
            _ => Err(self.error("argument must be a simple name")),
        };
        let Some(target) = target else {
            return match (name.as_str(), args.len()) {
                ("has", 1) => match args.remove(0) {
                    Expr::Select(of, field, false) => Ok(Expr::Has(of, field)),
                    _ => Err(self.error("invalid argument to has() macro")),
                },
                _ => Ok(Expr::Call(name, None, args)),
            };
        };
        if let (Expr::Ident(module), "bind", 3) = (&target, name.as_str(), args.len())
            && module == "cel"
        {
            let bound = variable(&args[0])?;
            let body = args.remove(2);
            return Ok(Expr::Bind(bound, Box::new(args.remove(1)), Box::new(body)));
        }
        if let ("optMap" | "optFlatMap", 2) = (name.as_str(), args.len()) {
            let bound = variable(&args[0])?;
            let body = Box::new(args.remove(1));
            return Ok(Expr::OptMap(
                Box::new(target),
                bound,
                body,
                name == "optFlatMap",
            ));
        }
        let (what, names, filtered) = match (name.as_str(), args.len()) {
            ("all", 2) => (What::All, 1, false),
            ("all", 3) => (What::All, 2, false),
            ("exists", 2) => (What::Exists, 1, false),
            ("exists", 3) => (What::Exists, 2, false),
            ("exists_one" | "existsOne", 2) => (What::ExistsOne, 1, false),
            ("exists_one" | "existsOne", 3) => (What::ExistsOne, 2, false),
            ("map", 2) => (What::Map, 1, false),
            ("map", 3) => (What::Map, 1, true),
            ("filter", 2) => (What::Filter, 1, false),
            ("sortBy", 2) => (What::SortBy, 1, false),
            ("transformList", 3) => (What::Map, 2, false),
            ("transformList", 4) => (What::Map, 2, true),
            ("transformMap", 3) => (What::TransformMap, 2, false),
            ("transformMap", 4) => (What::TransformMap, 2, true),
            _ => return Ok(Expr::Call(name, Some(Box::new(target)), args)),
        };
        let bound = args[..names]
            .iter()
            .map(variable)
            .collect::<Result<_, _>>()?;
        let mut rest = args.drain(names..);
        let filter = if filtered { rest.next() } else { None };
        let body = rest.next().ok_or_else(|| self.unexpected())?;
        Ok(Expr::Each(Box::new(Each {
            what,
            over: target,
            names: bound,
            filter,
            body,
        })))
    }
}

/// A tree of little depth, so that a long condition needs little stack.
fn balanced(mut terms: Vec<Expr>, join: &impl Fn(Expr, Expr) -> Expr) -> Expr {
    if terms.len() == 1 {
        return terms.remove(0);
    }
    let right = terms.split_off(terms.len() / 2);
    join(balanced(terms, join), balanced(right, join))
}

impl Expr {
    /// Calls `look` for this and everything in it.
    pub(super) fn visit<'e>(&'e self, look: &mut impl FnMut(&'e Expr)) {
        look(self);
        match self {
            Expr::Literal(_) | Expr::Ident(_) => {}
            Expr::Select(of, ..) | Expr::Has(of, _) => of.visit(look),
            Expr::Index(a, b, _) | Expr::And(a, b) | Expr::Or(a, b) | Expr::Bind(_, a, b) => {
                a.visit(look);
                b.visit(look);
            }
            Expr::OptMap(a, _, b, _) => {
                a.visit(look);
                b.visit(look);
            }
            Expr::Call(_, target, args) => {
                target.iter().for_each(|e| e.visit(look));
                args.iter().for_each(|e| e.visit(look));
            }
            Expr::List(items) => items.iter().for_each(|(_, e)| e.visit(look)),
            Expr::Map(entries) => {
                for (_, key, value) in entries {
                    key.visit(look);
                    value.visit(look);
                }
            }
            Expr::Conditional(of) => of.iter().for_each(|e| e.visit(look)),
            Expr::Each(each) => {
                each.over.visit(look);
                each.filter.iter().for_each(|e| e.visit(look));
                each.body.visit(look);
            }
        }
    }

    /// True if the variable is named anywhere in it.
    pub(super) fn names(&self, variable: &str) -> bool {
        let mut found = false;
        self.visit(&mut |e| found |= matches!(e, Expr::Ident(name) if name == variable));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_expression_is_refused_with_its_place() {
        for (source, expect) in [
            (
                "self.",
                "ERROR: <input>:1:6: Syntax error: mismatched input '<EOF>'",
            ),
            ("1 +", "1:4"),
            ("(1", "1:3"),
            ("a b", "extraneous input 'b'"),
            ("'abc", "not closed"),
            ("#", "token recognition error at: '#'"),
            ("has(a)", "invalid argument to has()"),
            ("[1].all(x.y, true)", "argument must be a simple name"),
            ("99999999999999999999", "invalid number"),
            ("'\\q'", "invalid escape"),
            ("", "mismatched input '<EOF>'"),
        ] {
            let error = parse(source).unwrap_err();
            assert!(error.contains(expect), "{source}: {error}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        for source in [
            "(".repeat(5_000),
            "[".repeat(5_000),
            format!("{}a", "!".repeat(5_000)),
            format!("a{}", ".b".repeat(5_000)),
            format!("1{}", "+1".repeat(5_000)),
            format!("{}1", "a?b:".repeat(5_000)),
            "a.all(x,".repeat(5_000),
        ] {
            assert!(parse(&source).is_err(), "{}", &source[..20]);
        }
        // Long, and shallow.
        assert!(parse(&vec!["true"; 2_000].join(" && ")).is_ok());
    }
}
