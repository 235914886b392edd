// Package skill reads skills: folders in the open Agent Skills format
// (agentskills.io/specification), each with a SKILL.md that begins with YAML
// frontmatter, and files beside it. They come from people, as archives or folders,
// and may come from anywhere: what is read is checked and bounded here, before
// anything is stored.
//
// It refuses unknown keys, names that do not follow the format, anchors and
// aliases of YAML, links, devices, paths that leave the folder, and archives that
// unpack to more than a skill may have. It keeps no modes: scripts are given to
// their interpreter.
//
// A skill tells an agent how to look at something. It allows nothing: what its
// commands may do, the agent's rules say, and its text is never evidence.
package skill
