/// An error and its causes in one line, the nearest first, for logs and health reports: `open the journal a.redb: the disk
/// is full`.
///
/// The one function among the words: how an error is told is a convention that every room shares, and rooms of one level do
/// not know each other.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
