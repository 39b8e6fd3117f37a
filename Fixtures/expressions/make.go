// Makes Fixtures/expressions/go.json: expressions of chance and some chosen ones, texts, and what Go's regexp says of them, a
// line each. Run it with Debian's golang-go: go run Fixtures/expressions/make.go > Fixtures/expressions/go.json
package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"regexp"
	"strconv"
	"strings"
)

var r *rand.Rand

func pick(s ...string) string { return s[r.Intn(len(s))] }
func atom(d int) string {
	switch r.Intn(22) {
	case 0, 1, 2, 3, 4:
		return pick("a", "b", "c", "ab", "A", "é", "k", "1", "_", " ", "-", "\n", "ſ", "s")
	case 5:
		return "."
	case 6:
		return pick("^", "$", `\b`, `\B`, `\A`, `\z`)
	case 7:
		return pick(`\d`, `\D`, `\w`, `\W`, `\s`, `\S`, `\pL`, `\PL`, `\p{Lu}`, `\p{^Lu}`, `\p{Greek}`, `\P{Nd}`, `\pN`, `\p{Any}`, `\p{Latin}`)
	case 8, 9:
		return class()
	case 10, 11, 12:
		if d <= 0 {
			return "a"
		}
		return "(" + expr(d-1) + ")"
	case 13:
		if d <= 0 {
			return "b"
		}
		return "(?:" + expr(d-1) + ")"
	case 14:
		if d <= 0 {
			return "b"
		}
		return "(?" + pick("i", "s", "m", "ims", "-i", "i-s", "U", "m-i") + ":" + expr(d-1) + ")"
	case 15:
		return "(?" + pick("i", "s", "m", "-i", "-s", "") + ")"
	case 16:
		return pick(`\x41`, `\x{e9}`, `\101`, `\07`, `\n`, `\.`, `\_`, `\-`, `\Qa.b\E`, `\Q*`, `\t`, `\x{3b1}`, `\12`)
	case 17:
		if d <= 0 {
			return "c"
		}
		return "(?P<n" + strconv.Itoa(r.Intn(50)) + ">" + expr(d-1) + ")"
	case 18:
		return pick(`\1`, `\8`, `\q`, `(`, `)`, `[`, `]`, `{`, `}`, `*`, `+`, `?`, `\`, `(?=a)`, `(?P<>a)`, `(?z)`, `[z-a]`, `\p{Foo}`, `\p{L`, `\x{110000}`, `\xg`, `[[:foo:]]`, `a**`, `a{2}{3}`, `{1}`, `{,2}`, `a{1001}`, `a{2,1}`, `(?i`, `[a`, `(a{100}){100}`, `\Z`, `\C`, `(?--i)`, `(?i-)`, `a{02}`, `a{2`, `a{2,x}`, `(?-)`)
	default:
		return pick("x", "y", "ab", "ba", "aab")
	}
}
func class() string {
	s := "["
	if r.Intn(3) == 0 {
		s += "^"
	}
	n := 1 + r.Intn(3)
	for i := 0; i < n; i++ {
		s += pick("a", "b", "a-c", "A-Z", "0-9", "]", "-", "é", "α-ω", `\d`, `\D`, `\w`, `\W`, `\s`, `\n`, `\]`, `\x41-\x45`, "[:alpha:]", "[:^digit:]", "[:space:]", "[:upper:]", `\pL`, `\P{Lu}`, `\p{Greek}`, "k", "[", "[:", ".", "^", `a-\d`, "c-a", "\\b")
	}
	return s + "]"
}
func expr(d int) string {
	s := ""
	for i := 0; i < 1+r.Intn(4); i++ {
		s += atom(d)
		if r.Intn(3) == 0 {
			s += pick("*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,}", "{3,5}?", "{0}", "{,3}", "{0,0}")
		}
	}
	if r.Intn(4) == 0 {
		s += "|" + pick("", expr(d-1), "a")
	}
	return s
}
func text() string {
	s := ""
	n := r.Intn(9)
	for i := 0; i < n; i++ {
		s += pick("a", "b", "c", "A", "B", "é", "É", "k", "K", "1", "9", "_", " ", "-", "\n", "x", "y", "s", "ſ", "α", "Ω", ".", "*", "\x07", "日", "ab", "aab", "ba", "]", "[", "^", "{2}", "")
	}
	return s
}

type line struct {
	Expression string   `json:"expression"`
	Valid      bool     `json:"valid"`
	Texts      []string `json:"texts"`
	Found      []bool   `json:"found"`
}

func say(expression string, texts []string) {
	re, err := regexp.Compile(expression)
	l := line{Expression: expression, Valid: err == nil, Texts: texts, Found: make([]bool, len(texts))}
	for i, t := range texts {
		l.Found[i] = err == nil && re.MatchString(t)
	}
	out, err := json.Marshal(l)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(out))
}

// Go before 1.21 confuses cases where alternatives begin alike (golang.org/issue/59007).
func isSafe(expression string) bool {
	return !strings.Contains(expression, "(?") || !strings.Contains(expression, "|") || !strings.Contains(expression, "i")
}

func main() {
	r = rand.New(rand.NewSource(11))
	chosen := []string{`(a+)+$`, `(.*)(.*)(.*)x`, `(a|aa)+$`, `^(([a-z])+.)+[A-Z]([a-z])+$`, `(a?){30}a{30}`, `a{1000}`, `a{1001}`,
		`(a{10}){100}`, `(a{10}){101}`, `(?:a{2,}){500}`, `(?:a{2,}){501}`, `^$`, `(?m)^$`, `(?i)straße`, `(?i)ſ`, `(?i)K`, `[[:word:]]+`,
		`\pN\PN`, `\p{Cyrillic}+`, `\p{Han}`, `\x{1F600}`, `(?i)[^k]`, `(?i)[^\x{212a}]`, `(?i)\w`, `(?i)\W`, `\bé`, `a\z`, `a$`, `(?m)a$`}
	for _, e := range chosen {
		say(e, []string{"", "a", strings.Repeat("a", 30), strings.Repeat("a", 40) + "b", "x", "\n", "STRASSE", "strasse", "ſ", "s", "S",
			"k", "\u212a", "Москва", "日本", "😀", "é", "1a", "a\n", "straße", "STRAßE"})
	}
	for i := 0; i < 600; {
		e := expr(3)
		if i%5 == 0 {
			e = "^" + e + pick("$", `\z`, "")
		}
		if !isSafe(e) || len(e) > 120 {
			continue
		}
		i++
		texts := []string{}
		for j := 0; j < 6; j++ {
			texts = append(texts, text())
		}
		say(e, texts)
	}
}
