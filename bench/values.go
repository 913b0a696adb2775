package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// source is where the chance of one value comes from: the same in each run.
func source(n int, salt uint64) *rand.Rand { return rand.New(rand.NewPCG(uint64(n), salt)) }

// languages are words as people write them. The first is plain ASCII and half
// of what is written; the others have letters of two, three and four bytes.
var languages = [...][]string{
	strings.Fields("the of and a to in is you that it he was for on are with as his they at be this from have or by one had not but what all were when we there can an your which their if do will each about how up out them then she many some so these would other into has more her two like him see time could no make than first been its who now people my made over did down only way find use may water long little very after words called just where most know"),
	strings.Fields("für über schön größer Straße Tür hören müssen fünf natürlich Übung Äpfel Maß Lösung früher nächste Häuser möglich Gerät Stück dünn süß weiß heiß Fuß später während können"),
	strings.Fields("été où déjà élève garçon français près même fête hôtel naïve cœur œuvre où Noël à très français leçon août bientôt côté"),
	strings.Fields("日本語 東京 注文 商品 配送 確認 お願いします 料金 税込 送料無料 在庫 新品 中古 返品 交換 大きい 小さい 赤い 青い 白い 黒い"),
	strings.Fields("طلب شحن المنتج السعر جديد مستعمل اللون الحجم العنوان الهاتف شكرا مرحبا"),
	strings.Fields("🙂 🎉 👍🏽 ❤️ 🚚 📦 ✅ ⚠️ 👨‍👩‍👧 🇩🇪"),
}

// words writes so many words of one language as JSON. Some of it is quoted, and
// some in several lines, as people do.
func words(least, most int) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		language := languages[0]
		if r.IntN(2) == 0 {
			language = languages[1+r.IntN(len(languages)-1)]
		}
		var b strings.Builder
		b.WriteByte('"')
		for i := range least + r.IntN(most-least+1) {
			if i > 0 {
				b.WriteString([...]string{" ", " ", " ", " ", " ", " ", " ", ", ", ". ", `\n`}[r.IntN(10)])
			}
			word := language[r.IntN(len(language))]
			switch r.IntN(24) {
			case 0:
				word = `\"` + word + `\"`
			case 1:
				word = languages[0][r.IntN(len(languages[0]))]
			case 2:
				word = `C:\\` + word + `\t`
			}
			b.WriteString(word)
		}
		b.WriteByte('"')
		return b.String()
	}
}

// sometimes is null but for a share of the values, in percent.
func sometimes(percent int, value func(*rand.Rand) string) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		if r.IntN(100) >= percent {
			return "null"
		}
		return value(r)
	}
}

func oneOf(values ...string) func(*rand.Rand) string {
	return func(r *rand.Rand) string { return strconv.Quote(values[r.IntN(len(values))]) }
}

func list(least, most int, value func(*rand.Rand) string) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		items := make([]string, least+r.IntN(most-least+1))
		for i := range items {
			items[i] = value(r)
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
}

func code(length int) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		b := make([]byte, length)
		for i := range b {
			b[i] = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"[r.IntN(34)]
		}
		return `"` + string(b) + `"`
	}
}

func boolean(r *rand.Rand) string { return strconv.FormatBool(r.IntN(2) == 0) }

func integer(below int64) func(*rand.Rand) string {
	return func(r *rand.Rand) string { return strconv.FormatInt(r.Int64N(below), 10) }
}

func double(below float64) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		return strconv.FormatFloat(r.Float64()*below, 'f', 1+r.IntN(15), 64)
	}
}

// decimal writes digits that no float64 holds: up to so many before and behind
// the point.
func decimal(whole, behind int) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		var b strings.Builder
		b.WriteByte('1' + byte(r.IntN(9)))
		for range r.IntN(whole) {
			b.WriteByte('0' + byte(r.IntN(10)))
		}
		b.WriteByte('.')
		for range 1 + r.IntN(behind) {
			b.WriteByte('0' + byte(r.IntN(10)))
		}
		return b.String()
	}
}

func uuid(r *rand.Rand) string {
	a, b := r.Uint64(), r.Uint64()
	return fmt.Sprintf(`"%08x-%04x-4%03x-%04x-%012x"`, a>>32, a>>16&0xffff, a&0xfff, 0x8000|b>>48&0x3fff, b&0xffffffffffff)
}

func date(r *rand.Rand) string { return when(r).Format(`"2006-01-02"`) }

// instant has the digits of a second's part that PostgreSQL writes: none at the
// end that are zero.
func instant(r *rand.Rand) string { return when(r).Format(`"2006-01-02T15:04:05.999999+00:00"`) }

func when(r *rand.Rand) time.Time {
	return time.UnixMicro(1_600_000_000_000_000 + r.Int64N(160_000_000_000_000)).UTC()
}

func address(r *rand.Rand) string {
	return fmt.Sprintf(`{"zip": %s, "city": %s, "lines": %s, "point": [%s, %s]}`,
		code(5)(r), words(1, 2)(r), list(1, 3, words(2, 5))(r), double(90)(r), double(180)(r))
}

// document is a jsonb document: mostly of a few hundred bytes, one in fifty of
// tens of kilobytes.
func document(r *rand.Rand) string {
	n := 2 + r.IntN(10)
	if r.IntN(50) == 0 {
		n = 200 + r.IntN(300)
	}
	members := make([]string, n)
	for i := range members {
		value := [...]func(*rand.Rand) string{words(1, 12), decimal(6, 4), boolean, list(0, 5, integer(1000)), address}[r.IntN(5)]
		members[i] = fmt.Sprintf(`"key_%d": %s`, i, value(r))
	}
	return "{" + strings.Join(members, ", ") + "}"
}
