//! Tokens of label selectors.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    End,
    OpenParenthesis,
    CloseParenthesis,
    Comma,
    Not,
    Equals,
    DoubleEquals,
    NotEquals,
    GreaterThan,
    LessThan,
    In,
    NotIn,
    Identifier(String),
    Unknown(String),
}

impl Token {
    /// The text of the token as it stood in the selector.
    pub(super) fn literal(&self) -> &str {
        match self {
            Token::End => "",
            Token::OpenParenthesis => "(",
            Token::CloseParenthesis => ")",
            Token::Comma => ",",
            Token::Not => "!",
            Token::Equals => "=",
            Token::DoubleEquals => "==",
            Token::NotEquals => "!=",
            Token::GreaterThan => ">",
            Token::LessThan => "<",
            Token::In => "in",
            Token::NotIn => "notin",
            Token::Identifier(text) | Token::Unknown(text) => text,
        }
    }
}

fn is_special(character: char) -> bool {
    matches!(character, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

/// Cuts a selector into tokens; the last is [`Token::End`].
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_part: fn(char) -> bool = if is_special(first) {
            is_special
        } else {
            |character| !is_special(character) && !character.is_ascii_whitespace()
        };
        let mut end = rest.find(|character| !is_part(character)).unwrap_or(rest.len());
        let token = if is_special(first) {
            // The longest operator that begins here.
            let operators = [
                ("==", Token::DoubleEquals),
                ("!=", Token::NotEquals),
                ("(", Token::OpenParenthesis),
                (")", Token::CloseParenthesis),
                (",", Token::Comma),
                ("!", Token::Not),
                ("=", Token::Equals),
                (">", Token::GreaterThan),
                ("<", Token::LessThan),
            ];
            match operators.into_iter().find(|(operator, _)| rest.starts_with(operator)) {
                Some((operator, token)) => {
                    end = operator.len();
                    token
                }
                None => Token::Unknown(rest[..end].to_owned()),
            }
        } else {
            match &rest[..end] {
                "in" => Token::In,
                "notin" => Token::NotIn,
                word => Token::Identifier(word.to_owned()),
            }
        };
        tokens.push(token);
        rest = rest[end..].trim_start();
    }
    tokens.push(Token::End);
    tokens
}
