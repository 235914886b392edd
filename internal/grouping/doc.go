// Package grouping decides which alerts become one incident. It is pure: it
// looks at one alert, the source that it came from and what people have
// configured, and says where the alert belongs and why. What is open and what
// is not, is the database's to know.
//
// # Matchers
//
// A matcher is written as in Alertmanager: NAME OP VALUE, with = and != for
// text, =~ and !~ for regular expressions (RE2) that must match all of it.
// Several are separated by commas and must all match; braces around them are
// allowed, as are quotes around names and values.
//
//	source="prod", severity=~"critical|high", labels.cluster!="dev"
//
// The names are those of [Fields], and labels.NAME for a label of the alert;
// "labels." may be followed by a name in quotes. A label that an alert does not
// have is empty, as in Alertmanager. No matcher at all matches every alert.
//
// # Keys
//
// The key of a rule is text with placeholders: {{service}}/{{labels.cluster}}.
// Alerts for which it gives the same text are one group. An alert for which
// every placeholder is empty is not the rule's: it would be thrown together
// with all others that have nothing of what the rule groups by. The next rule
// is tried then.
//
// # Windows
//
// Maintenance is once or weekly. A weekly window is set by the wall clock of its
// time zone: 02:00 stays 02:00 when the clocks change, and its length is always
// the same number of minutes.
//
// Everything that people write here is checked by [CheckRule] and [CheckWindow],
// which refuse what they do not understand. Patterns are bounded in size, so
// that no rule makes intake slow.
package grouping
