//! A transaction: changes to one table that take effect together or not at all.

use std::fmt;

use super::model::{COMMENT_MAX, Chain, Element, Key, Name, Rule, Set};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Make the table empty: delete it with all it holds and add it again.
    ReplaceTable,
    /// Delete the table with all it holds; absent is fine.
    DeleteTable,
    /// Add a set or map; one that is there and alike stays as it is.
    AddSet(Set),
    /// Delete a set or map.
    DeleteSet(Set),
    /// Remove all elements of a set or map.
    FlushSet(Set),
    /// Add a chain without its rules; one that is there and alike stays as it is.
    AddChain(Chain),
    /// Remove all rules of a chain.
    FlushChain(Name),
    /// Delete an empty chain.
    DeleteChain(Name),
    /// Append a rule to a chain.
    AddRule(Name, Rule),
    /// Add an element to a set.
    AddElement(Name, Element),
    /// Delete an element of a set.
    DeleteElement(Name, Key),
}

/// A change that nft would refuse, found before it is sent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidObject {
    /// The name of a chain or set.
    #[error("{0:?} is no name for a chain or set: letters, digits, '-', '_' and '.', beginning with a letter")]
    Name(String),
    /// The name of the table.
    #[error("{0:?} is no name for a table: letters, digits, '-', '_' and '.', beginning with a letter")]
    Table(String),
    /// An element of another shape than its set.
    #[error("element {{ {element} }} does not have the type of set {set}")]
    ElementType {
        /// The element as nft would read it.
        element: String,
        /// The set's name.
        set: String,
    },
    /// A comment with characters that would end it early, or too long.
    #[error("comment {0:?} of an element is too long or holds a quote or control character")]
    Comment(String),
    /// A choice among nothing.
    #[error("rule {0:?} chooses among no slots")]
    NoSlots(String),
}

/// Changes of one table of the `ip` family, applied whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    table: Name,
    commands: Vec<Command>,
}

/// Elements a printed line holds at most: short lines are cheap for nft's parser and for a reader.
const ELEMENTS_PER_LINE: usize = 256;

impl Transaction {
    /// An empty transaction on the table.
    pub fn new(table: impl Into<Name>) -> Result<Transaction, InvalidObject> {
        let table = table.into();
        if !table.is_valid() {
            return Err(InvalidObject::Table(table.to_string()));
        }
        Ok(Transaction { table, commands: Vec::new() })
    }

    /// The table's name.
    pub fn table(&self) -> &Name {
        &self.table
    }

    /// The changes in order.
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Empty the table, in the same instant in which what follows takes effect.
    pub fn replace_table(&mut self) {
        self.commands.push(Command::ReplaceTable);
    }

    /// Remove the table.
    pub fn delete_table(&mut self) {
        self.commands.push(Command::DeleteTable);
    }

    /// Add a set or map.
    pub fn add_set(&mut self, set: &Set) -> Result<(), InvalidObject> {
        check_name(&set.name)?;
        self.commands.push(Command::AddSet(set.clone()));
        Ok(())
    }

    /// Delete a set or map.
    pub fn delete_set(&mut self, set: &Set) -> Result<(), InvalidObject> {
        check_name(&set.name)?;
        self.commands.push(Command::DeleteSet(set.clone()));
        Ok(())
    }

    /// Remove all elements of a set or map.
    pub fn flush_set(&mut self, set: &Set) -> Result<(), InvalidObject> {
        check_name(&set.name)?;
        self.commands.push(Command::FlushSet(set.clone()));
        Ok(())
    }

    /// Add a chain, without its rules: they may lead to chains that come later.
    pub fn add_chain(&mut self, chain: &Chain) -> Result<(), InvalidObject> {
        check_name(&chain.name)?;
        self.commands.push(Command::AddChain(Chain { rules: Vec::new(), ..chain.clone() }));
        Ok(())
    }

    /// Append the rules of a chain.
    pub fn add_rules(&mut self, chain: &Chain) -> Result<(), InvalidObject> {
        check_name(&chain.name)?;
        for rule in &chain.rules {
            check_rule(rule)?;
            self.commands.push(Command::AddRule(chain.name.clone(), rule.clone()));
        }
        Ok(())
    }

    /// Remove all rules of a chain.
    pub fn flush_chain(&mut self, chain: &Name) -> Result<(), InvalidObject> {
        check_name(chain)?;
        self.commands.push(Command::FlushChain(chain.clone()));
        Ok(())
    }

    /// Delete a chain, which must be empty and led to by nothing at this point of the transaction.
    pub fn delete_chain(&mut self, chain: &Name) -> Result<(), InvalidObject> {
        check_name(chain)?;
        self.commands.push(Command::DeleteChain(chain.clone()));
        Ok(())
    }

    /// Add an element.
    pub fn add_element(&mut self, set: &Set, element: Element) -> Result<(), InvalidObject> {
        check_name(&set.name)?;
        if !set.fits(&element.key, &element.value) {
            return Err(InvalidObject::ElementType { element: element.to_string(), set: set.name.to_string() });
        }
        if element.comment.len() > COMMENT_MAX || element.comment.chars().any(|c| c == '"' || c.is_control()) {
            return Err(InvalidObject::Comment(element.comment.to_string()));
        }
        self.commands.push(Command::AddElement(set.name.clone(), element));
        Ok(())
    }

    /// Delete an element, which must exist.
    pub fn delete_element(&mut self, set: &Set, key: Key) -> Result<(), InvalidObject> {
        check_name(&set.name)?;
        if key.key_type() != set.key {
            return Err(InvalidObject::ElementType { element: key.to_string(), set: set.name.to_string() });
        }
        self.commands.push(Command::DeleteElement(set.name.clone(), key));
        Ok(())
    }
}

fn check_name(name: &Name) -> Result<(), InvalidObject> {
    if name.is_valid() { Ok(()) } else { Err(InvalidObject::Name(name.to_string())) }
}

fn check_rule(rule: &Rule) -> Result<(), InvalidObject> {
    use super::model::{Action, Selector};
    let empty = rule.actions.iter().any(|action| match action {
        Action::RandomGoto(chains) => chains.is_empty(),
        Action::DnatMap(Selector::ServiceSlot(_, slots) | Selector::NodePortSlot(_, slots), _) => *slots == 0,
        _ => false,
    });
    if empty { Err(InvalidObject::NoSlots(rule.to_string())) } else { Ok(()) }
}

impl fmt::Display for Transaction {
    /// The script that `nft -f` applies in one kernel transaction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = &self.table;
        let mut index = 0;
        while let Some(command) = self.commands.get(index) {
            index += 1;
            match command {
                // Adding first makes the deletion succeed where there is no table yet.
                Command::ReplaceTable => {
                    writeln!(f, "add table ip {table}\ndelete table ip {table}\nadd table ip {table}")?;
                }
                Command::DeleteTable => writeln!(f, "add table ip {table}\ndelete table ip {table}")?,
                Command::AddSet(set) => writeln!(f, "add {} ip {table} {} {{ {set} }}", set.noun(), set.name)?,
                Command::DeleteSet(set) => writeln!(f, "delete {} ip {table} {}", set.noun(), set.name)?,
                Command::FlushSet(set) => writeln!(f, "flush {} ip {table} {}", set.noun(), set.name)?,
                Command::AddChain(chain) => match chain.hook {
                    Some(hook) => writeln!(f, "add chain ip {table} {} {{ {hook} }}", chain.name)?,
                    None => writeln!(f, "add chain ip {table} {}", chain.name)?,
                },
                Command::FlushChain(chain) => writeln!(f, "flush chain ip {table} {chain}")?,
                Command::DeleteChain(chain) => writeln!(f, "delete chain ip {table} {chain}")?,
                Command::AddRule(chain, rule) => writeln!(f, "add rule ip {table} {chain} {rule}")?,
                Command::AddElement(set, element) => {
                    write!(f, "add element ip {table} {set} {{ {element}")?;
                    for _ in 1..ELEMENTS_PER_LINE {
                        match self.commands.get(index) {
                            Some(Command::AddElement(same, element)) if same == set => write!(f, ", {element}")?,
                            _ => break,
                        }
                        index += 1;
                    }
                    writeln!(f, " }}")?;
                }
                Command::DeleteElement(set, key) => {
                    write!(f, "delete element ip {table} {set} {{ {key}")?;
                    for _ in 1..ELEMENTS_PER_LINE {
                        match self.commands.get(index) {
                            Some(Command::DeleteElement(same, key)) if same == set => write!(f, ", {key}")?,
                            _ => break,
                        }
                        index += 1;
                    }
                    writeln!(f, " }}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::model::{Action, KeyType, Protocol, Selector, Value, ValueType};

    fn transaction() -> Transaction {
        Transaction::new("test").expect("a valid name")
    }

    #[test]
    fn what_nft_would_refuse_is_refused_when_it_is_added() {
        assert!(Transaction::new("1x").is_err());
        let services = Set::map("services", KeyType::Service, ValueType::Verdict);
        let key = Key::Service([10, 96, 0, 1].into(), Protocol::Tcp, 443);
        let mut t = transaction();
        let element = |value, comment: &str| Element { key, value, comment: comment.into() };
        assert!(matches!(
            t.add_element(&services, element(Value::Nothing, "")),
            Err(InvalidObject::ElementType { .. })
        ));
        assert!(matches!(
            t.add_element(&services, element(Value::Drop, "a\"; flush ruleset")),
            Err(InvalidObject::Comment(_))
        ));
        assert!(matches!(
            t.delete_element(&services, Key::NodePort(Protocol::Tcp, 1)),
            Err(InvalidObject::ElementType { .. })
        ));
        let none =
            Chain::regular("x", [Rule::always([Action::DnatMap(Selector::ServiceSlot(Protocol::Tcp, 0), "m".into())])]);
        assert!(matches!(t.add_rules(&none), Err(InvalidObject::NoSlots(_))));
        assert!(matches!(t.add_chain(&Chain::regular("a b", [])), Err(InvalidObject::Name(_))));
        assert!(t.is_empty());
        t.add_element(&services, element(Value::Drop, "default/kubernetes:https")).expect("fits");
        assert_eq!(
            t.to_string(),
            "add element ip test services { 10.96.0.1 . tcp . 443 comment \"default/kubernetes:https\" : drop }\n"
        );
    }

    #[test]
    fn neighbouring_elements_share_a_line() {
        let set = Set::plain("addresses", KeyType::Address);
        let mut t = transaction();
        for last in 1..=3 {
            let element =
                Element { key: Key::Address([10, 0, 0, last].into()), value: Value::Nothing, comment: "".into() };
            t.add_element(&set, element).expect("fits");
        }
        t.delete_element(&set, Key::Address([10, 0, 0, 9].into())).expect("fits");
        assert_eq!(
            t.to_string(),
            "add element ip test addresses { 10.0.0.1, 10.0.0.2, 10.0.0.3 }\ndelete element ip test addresses { 10.0.0.9 }\n"
        );
    }
}
