//! A scanner for Go declarations: enough of the language to read the types, constants and imports of an API package.
//!
//! Function bodies are skipped, except that their tokens stay available for reading scheme registrations.

use std::collections::HashMap;

/// One source file's declarations.
#[derive(Debug, Default)]
pub struct File {
    /// Local name to import path. A package imported without a name goes by its last path segment.
    pub imports: HashMap<String, String>,
    pub types: Vec<TypeDecl>,
    pub consts: Vec<Const>,
    pub tokens: Vec<Token>,
}

#[derive(Debug, Clone)]
pub struct TypeDecl {
    pub name: String,
    pub ty: Ty,
    /// `type A = B`.
    pub alias: bool,
    /// The comment block above, and the one before that: generators read markers from both.
    pub doc: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Const {
    pub name: String,
    pub ty: Option<Ty>,
    pub value: Value,
}

#[derive(Debug, Clone)]
pub enum Value {
    Text(String),
    Number(String),
    /// An expression, or a reference to another constant.
    Other,
}

#[derive(Debug, Clone)]
pub enum Ty {
    Name(Option<String>, String),
    Pointer(Box<Ty>),
    Slice(Box<Ty>),
    /// A map by its values: every key is a string in JSON.
    Map(Box<Ty>),
    Struct(Vec<Field>),
    Interface,
    /// Functions, channels, arrays and generics, none of which has an API form.
    Other,
}

#[derive(Debug, Clone)]
pub struct Field {
    /// Empty where embedded.
    pub name: String,
    pub ty: Ty,
    pub tag: String,
    pub doc: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Tok {
    Word(String),
    Text(String),
    Number(String),
    Mark(char),
    /// The end of a statement: written, or implied by a line's end.
    End,
}

#[derive(Debug, Clone)]
pub struct Token {
    pub tok: Tok,
    pub line: u32,
}

pub fn scan(source: &str) -> Result<File, String> {
    let (tokens, comments) = tokenize(source)?;
    let mut parser = Parser { tokens: &tokens, at: 0, comments: &comments, file: File::default() };
    parser.file()?;
    let mut file = parser.file;
    file.tokens = tokens;
    Ok(file)
}

/// The text of a whole-line comment, by line.
type Comments = HashMap<u32, String>;

fn tokenize(source: &str) -> Result<(Vec<Token>, Comments), String> {
    let chars: Vec<char> = source.chars().collect();
    let mut tokens: Vec<Token> = Vec::new();
    let mut comments = Comments::new();
    let (mut at, mut line) = (0, 1);
    let mut line_has_code = false;
    while at < chars.len() {
        let c = chars[at];
        match c {
            '\n' => {
                if ends_statement(tokens.last()) {
                    tokens.push(Token { tok: Tok::End, line });
                }
                line += 1;
                line_has_code = false;
                at += 1;
            }
            c if c.is_whitespace() => at += 1,
            '/' if chars.get(at + 1) == Some(&'/') => {
                let end = (at..chars.len()).find(|&i| chars[i] == '\n').unwrap_or(chars.len());
                if !line_has_code {
                    let text: String = chars[at + 2..end].iter().collect();
                    comments.insert(line, text.trim().to_string());
                }
                at = end;
            }
            '/' if chars.get(at + 1) == Some(&'*') => {
                let end = (at + 2..chars.len().saturating_sub(1))
                    .find(|&i| chars[i] == '*' && chars[i + 1] == '/')
                    .ok_or_else(|| format!("line {line}: a comment is not closed"))?;
                line += chars[at..end].iter().filter(|&&c| c == '\n').count() as u32;
                at = end + 2;
            }
            '`' => {
                let end = (at + 1..chars.len())
                    .find(|&i| chars[i] == '`')
                    .ok_or_else(|| format!("line {line}: a raw string is not closed"))?;
                let text: String = chars[at + 1..end].iter().collect();
                let start = line;
                line += text.matches('\n').count() as u32;
                tokens.push(Token { tok: Tok::Text(text), line: start });
                line_has_code = true;
                at = end + 1;
            }
            '"' | '\'' => {
                let mut text = String::new();
                let mut i = at + 1;
                while chars.get(i).is_some_and(|&x| x != c && x != '\n') {
                    if chars[i] == '\\' {
                        i += 1;
                        match chars.get(i) {
                            Some('n') => text.push('\n'),
                            Some('t') => text.push('\t'),
                            Some(&other) => text.push(other),
                            None => break,
                        }
                    } else {
                        text.push(chars[i]);
                    }
                    i += 1;
                }
                tokens.push(Token { tok: Tok::Text(text), line });
                line_has_code = true;
                at = i + 1;
            }
            c if c.is_alphabetic() || c == '_' => {
                let end = run_end(&chars, at, |c| c.is_alphanumeric() || c == '_');
                tokens.push(Token { tok: Tok::Word(chars[at..end].iter().collect()), line });
                line_has_code = true;
                at = end;
            }
            c if c.is_ascii_digit() => {
                let end = run_end(&chars, at, |c| c.is_alphanumeric() || c == '.' || c == '_');
                tokens.push(Token { tok: Tok::Number(chars[at..end].iter().collect()), line });
                line_has_code = true;
                at = end;
            }
            ';' => {
                tokens.push(Token { tok: Tok::End, line });
                at += 1;
            }
            c => {
                tokens.push(Token { tok: Tok::Mark(c), line });
                line_has_code = true;
                at += 1;
            }
        }
    }
    tokens.push(Token { tok: Tok::End, line });
    Ok((tokens, comments))
}

fn run_end(chars: &[char], start: usize, keep: impl Fn(char) -> bool) -> usize {
    (start..chars.len()).find(|&i| !keep(chars[i])).unwrap_or(chars.len())
}

/// Go ends a statement at a line's end after an operand or a closing bracket.
fn ends_statement(last: Option<&Token>) -> bool {
    match last.map(|t| &t.tok) {
        Some(Tok::Word(_) | Tok::Text(_) | Tok::Number(_)) => true,
        Some(Tok::Mark(c)) => matches!(c, ')' | ']' | '}'),
        _ => false,
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    comments: &'a Comments,
    file: File,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Tok> {
        self.tokens.get(self.at).map(|t| &t.tok)
    }

    fn peek_at(&self, ahead: usize) -> Option<&Tok> {
        self.tokens.get(self.at + ahead).map(|t| &t.tok)
    }

    fn line(&self) -> u32 {
        self.tokens.get(self.at).map_or(0, |t| t.line)
    }

    fn take(&mut self, mark: char) -> bool {
        let found = self.peek() == Some(&Tok::Mark(mark));
        self.at += usize::from(found);
        found
    }

    fn word(&mut self) -> Result<String, String> {
        match self.peek() {
            Some(Tok::Word(word)) => {
                let word = word.clone();
                self.at += 1;
                Ok(word)
            }
            other => Err(format!("line {}: expected a name, found {other:?}", self.line())),
        }
    }

    fn ends(&mut self) {
        while self.peek() == Some(&Tok::End) {
            self.at += 1;
        }
    }

    fn file(&mut self) -> Result<(), String> {
        while self.at < self.tokens.len() {
            match self.peek() {
                Some(Tok::Word(word)) => match word.as_str() {
                    "import" => self.group(Self::import)?,
                    "type" => self.group(Self::type_decl)?,
                    "const" => self.group(Self::constant)?,
                    _ => self.skip_statement(),
                },
                _ => self.at += 1,
            }
        }
        Ok(())
    }

    /// `keyword item` or `keyword ( item… )`.
    fn group(&mut self, item: fn(&mut Self) -> Result<(), String>) -> Result<(), String> {
        self.at += 1;
        if !self.take('(') {
            return item(self);
        }
        loop {
            self.ends();
            if self.take(')') || self.peek().is_none() {
                return Ok(());
            }
            item(self)?;
        }
    }

    fn import(&mut self) -> Result<(), String> {
        let name = match self.peek() {
            Some(Tok::Word(_)) => Some(self.word()?),
            Some(Tok::Mark('.')) => {
                self.at += 1;
                None
            }
            _ => None,
        };
        if let Some(Tok::Text(path)) = self.peek() {
            let path = path.clone();
            let name = name.unwrap_or_else(|| path.rsplit('/').next().unwrap_or_default().to_string());
            self.file.imports.insert(name, path);
        }
        self.skip_statement();
        Ok(())
    }

    fn type_decl(&mut self) -> Result<(), String> {
        let line = self.line();
        let name = self.word()?;
        let alias = self.take('=');
        // A bracket with a name in it opens type parameters.
        if self.peek() == Some(&Tok::Mark('[')) && matches!(self.peek_at(1), Some(Tok::Word(_))) {
            self.skip_statement();
            return Ok(());
        }
        let ty = self.ty()?;
        self.skip_statement();
        let doc = self.doc(line, 2);
        self.file.types.push(TypeDecl { name, ty, alias, doc });
        Ok(())
    }

    fn constant(&mut self) -> Result<(), String> {
        let name = self.word()?;
        let ty = match self.peek() {
            Some(Tok::Word(_)) => Some(self.ty()?),
            _ => None,
        };
        if !self.take('=') {
            self.skip_statement();
            return Ok(());
        }
        let (value, ty) = self.value(ty);
        self.skip_statement();
        self.file.consts.push(Const { name, ty, value });
        Ok(())
    }

    fn value(&mut self, ty: Option<Ty>) -> (Value, Option<Ty>) {
        let ends = |tok: Option<&Tok>| matches!(tok, Some(Tok::End | Tok::Mark(')')) | None);
        match (self.peek().cloned(), self.peek_at(1).cloned(), self.peek_at(2).cloned()) {
            (Some(Tok::Text(text)), next, _) if ends(next.as_ref()) => (Value::Text(text), ty),
            (Some(Tok::Number(number)), next, _) if ends(next.as_ref()) => (Value::Number(number), ty),
            (Some(Tok::Word(name)), Some(Tok::Mark('(')), Some(Tok::Text(text))) => {
                (Value::Text(text), ty.or(Some(Ty::Name(None, name))))
            }
            _ => (Value::Other, ty),
        }
    }

    fn ty(&mut self) -> Result<Ty, String> {
        match self.peek().cloned() {
            Some(Tok::Mark('*')) => {
                self.at += 1;
                Ok(Ty::Pointer(Box::new(self.ty()?)))
            }
            Some(Tok::Mark('[')) if self.peek_at(1) == Some(&Tok::Mark(']')) => {
                self.at += 2;
                Ok(Ty::Slice(Box::new(self.ty()?)))
            }
            Some(Tok::Mark('(')) => {
                self.at += 1;
                let ty = self.ty()?;
                self.take(')');
                Ok(ty)
            }
            Some(Tok::Word(word)) => match word.as_str() {
                "map" => {
                    self.at += 2;
                    self.ty()?;
                    self.take(']');
                    Ok(Ty::Map(Box::new(self.ty()?)))
                }
                "struct" => {
                    self.at += 1;
                    Ok(Ty::Struct(self.fields()?))
                }
                "interface" => {
                    self.at += 1;
                    self.skip_balanced();
                    Ok(Ty::Interface)
                }
                "func" | "chan" => {
                    self.skip_to_end();
                    Ok(Ty::Other)
                }
                _ => {
                    self.at += 1;
                    let named = if self.take('.') {
                        Ty::Name(Some(word), self.word()?)
                    } else {
                        Ty::Name(None, word)
                    };
                    if self.peek() == Some(&Tok::Mark('[')) {
                        self.skip_balanced();
                        return Ok(Ty::Other);
                    }
                    Ok(named)
                }
            },
            _ => {
                self.skip_to_end();
                Ok(Ty::Other)
            }
        }
    }

    fn fields(&mut self) -> Result<Vec<Field>, String> {
        if !self.take('{') {
            return Err(format!("line {}: expected the body of a struct", self.line()));
        }
        let mut fields = Vec::new();
        loop {
            self.ends();
            if self.take('}') {
                return Ok(fields);
            }
            if self.peek().is_none() {
                return Err("a struct is not closed".to_string());
            }
            let line = self.line();
            let embedded = self.peek() == Some(&Tok::Mark('*'))
                || matches!(self.peek_at(1), Some(Tok::Mark('.' | '}') | Tok::End | Tok::Text(_)));
            let mut names = Vec::new();
            if embedded {
                names.push(String::new());
            } else {
                names.push(self.word()?);
                while self.take(',') {
                    names.push(self.word()?);
                }
            }
            let ty = self.ty()?;
            let tag = match self.peek() {
                Some(Tok::Text(tag)) => tag.clone(),
                _ => String::new(),
            };
            self.skip_to_end();
            let doc = self.doc(line, 1);
            for name in names {
                fields.push(Field { name, ty: ty.clone(), tag: tag.clone(), doc: doc.clone() });
            }
        }
    }

    /// Up to the statement's end or the bracket that closes its surroundings, neither of which is taken.
    fn skip_to_end(&mut self) {
        while let Some(tok) = self.peek() {
            match tok {
                Tok::End | Tok::Mark(')' | '}' | ']') => return,
                Tok::Mark('(' | '{' | '[') => self.skip_balanced(),
                _ => self.at += 1,
            }
        }
    }

    /// Past the statement's end.
    fn skip_statement(&mut self) {
        loop {
            match self.peek() {
                None => return,
                Some(Tok::End) => {
                    self.at += 1;
                    return;
                }
                Some(Tok::Mark(')')) => return,
                Some(Tok::Mark('(' | '{' | '[')) => self.skip_balanced(),
                Some(_) => self.at += 1,
            }
        }
    }

    fn skip_balanced(&mut self) {
        let mut depth = 0;
        while let Some(tok) = self.peek() {
            match tok {
                Tok::Mark('(' | '{' | '[') => depth += 1,
                Tok::Mark(')' | '}' | ']') => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    /// The comment blocks that end above a line, nearest first; lines in reading order within a block.
    fn doc(&self, line: u32, blocks: usize) -> Vec<String> {
        let mut doc = Vec::new();
        let mut at = line;
        for block in 0..blocks {
            if block > 0 && !self.comments.contains_key(&at.saturating_sub(1)) {
                at = at.saturating_sub(1);
            }
            let mut lines = Vec::new();
            while let Some(text) = self.comments.get(&at.saturating_sub(1)) {
                lines.push(text.clone());
                at -= 1;
            }
            lines.reverse();
            doc.extend(lines);
        }
        doc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
// A licence.

package v1

import (
	"fmt"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +genclient

// Pod is a pod.
// +enum
type Pod struct {
	meta.TypeMeta `json:",inline"`
	*Extra

	// About the name.
	// +optional
	Name, Alias string `json:"name,omitempty" protobuf:"bytes,1,opt,name=name"` // trailing
	// OldField string
	/* a block
	   of lines */
	Items []map[string]*meta.Time
	Any interface{ Method(a int) error }
	Call func(a, b int) (string, error) `json:"-"`
}

type (
	Name string
	Alias = meta.Time
	Generic[T any] struct{ Value T }
)

const (
	One Name = "one"
	Two = Name("two")
	Three = 3
	Four Name = One
)

func (p *Pod) String() string {
	type inner struct{ Hidden string }
	return fmt.Sprintf("%v; {", p)
}

type Last []byte
"#;

    #[test]
    fn declarations_are_read_past_everything_else() {
        let file = scan(SOURCE).expect("the source is well-formed");
        let names: Vec<&str> = file.types.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["Pod", "Name", "Alias", "Last"]);
        assert_eq!(file.imports["meta"], "k8s.io/apimachinery/pkg/apis/meta/v1");
        assert!(file.types[2].alias);
        assert_eq!(file.types[0].doc, ["Pod is a pod.", "+enum", "+genclient"]);
        assert!(
            matches!(&file.types[3].ty, Ty::Slice(inner) if matches!(&**inner, Ty::Name(None, n) if n == "byte"))
        );
    }

    #[test]
    fn fields_keep_their_tags_and_nearest_comment() {
        let file = scan(SOURCE).expect("the source is well-formed");
        let Ty::Struct(fields) = &file.types[0].ty else { panic!("a pod is a struct") };
        let names: Vec<&str> = fields.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["", "", "Name", "Alias", "Items", "Any", "Call"]);
        assert_eq!(fields[2].doc, ["About the name.", "+optional"]);
        assert!(fields[2].tag.starts_with("json:\"name,omitempty\""));
        assert!(fields[4].doc.is_empty(), "a commented-out field is not the next one's comment");
        assert!(matches!(fields[1].ty, Ty::Pointer(_)));
        assert!(matches!((&fields[5].ty, &fields[6].ty), (Ty::Interface, Ty::Other)));
    }

    #[test]
    fn constants_keep_their_types() {
        let file = scan(SOURCE).expect("the source is well-formed");
        let typed = |c: &Const| matches!(&c.ty, Some(Ty::Name(None, name)) if name == "Name");
        let read: Vec<(&str, bool)> = file.consts.iter().map(|c| (c.name.as_str(), typed(c))).collect();
        assert_eq!(read, [("One", true), ("Two", true), ("Three", false), ("Four", true)]);
        assert!(matches!(&file.consts[1].value, Value::Text(text) if text == "two"));
        assert!(matches!(file.consts[3].value, Value::Other));
    }

    #[test]
    fn broken_sources_are_refused() {
        for source in ["/* open", "var a = `open", "type A struct { B int", "type A struct {\n\t= 1\n}"] {
            assert!(scan(source).is_err(), "{source}");
        }
    }
}
