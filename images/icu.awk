# Reads the beginning of a file with ICU's data, as decimal bytes, and prints how to make the file anew with few items.
#
# ICU comes with 32 MB of data for every language, of which Prosody uses some 20 items. The file is an ELF library whose
# only content is the data (Debian), or the data alone (Alpine). The items that stay are not changed; the table of
# contents becomes shorter, and the library keeps its name, its symbol and every address.
#
# Data: ICU's common data, format CmnD (icu4c/source/common/ucmndata.h): a header, then a table of contents with the
# number of items, and for each the offsets of its name and of its content, both counted from the table.
# Library: ELF, System V ABI (gabi, chapters 4 and 5), 32 and 64 bits, both byte orders.
#
# Input: whitespace-separated bytes. Variables: keep (patterns of names as in a shell, without ICU's prefix, separated by
# blanks), size (of the file). Output: lines "copy OFFSET LENGTH", "bytes \OOO…" and "zeros NUMBER", which make the new
# file in their order. A file that is not what it should be ends with status 1 and a message.

function fail(text) { print "icu: " text > "/dev/stderr"; failed = 1; exit 1 }

# Unsigned number of `width` bytes at `place`.
function number(place, width,    value, i) {
    for (i = 0; i < width; i++) value = value * 256 + byte[place + (big ? i : width - 1 - i)]
    return value
}

function put(place, width, value,    i) {
    for (i = 0; i < width; i++) {
        byte[place + (big ? width - 1 - i : i)] = value % 256
        value = int(value / 256)
    }
}

function octal(value) { return sprintf("\\%03o", value) }

# The bytes of a number, as they are printed.
function shown(value, width,    i, text) {
    for (i = 0; i < width; i++) {
        text = big ? octal(value % 256) text : text octal(value % 256)
        value = int(value / 256)
    }
    return text
}

function align(value, to) { return int((value + to - 1) / to) * to }

function print_bytes(from, to,    i, text) {
    for (i = from; i < to; i++) text = text octal(byte[i])
    if (text != "") print "bytes " text
}

# The name at `place`, up to its zero.
function name_at(place,    text) {
    while (place < count && byte[place]) text = text sprintf("%c", byte[place++])
    return text
}

function is_kept(name,    i, found) {
    for (i = 1; i <= patterns; i++) if (name ~ pattern[i]) found = used[i] = 1
    return found
}

# Where the data begins: two bytes of magic, then after the byte order and two more, the name of the format.
function find_data(    i) {
    for (i = 0; i + 20 < count; i++)
        if (byte[i + 2] == 218 && byte[i + 3] == 39 && byte[i + 12] == 67 && byte[i + 13] == 109 \
            && byte[i + 14] == 110 && byte[i + 15] == 68) return i
    fail("no ICU data within the first " count " bytes")
}

# Sets kept, the number of items that stay, and for each: name[] and name_length[], from[] and length_of[] (its content).
function read_items(    items, i, first, start, end, place, full, short) {
    toc = data + number(data, 2)
    items = number(toc, 4)
    first = toc + number(toc + 8, 4)
    if (items < 1 || first > count) fail("a table of contents of " items " items that does not fit")
    for (i = 0; i < items; i++) {
        place = toc + 4 + 8 * i
        start = number(place + 4, 4)
        end = i + 1 < items ? number(place + 12, 4) : data_end - toc
        if (end < start || toc + end > size) fail("item " i " does not lie within the file")
        full = name_at(toc + number(place, 4))
        short = full
        sub(/^[^\/]*\//, "", short)
        if (!is_kept(short)) continue
        kept++
        name[kept] = toc + number(place, 4)
        name_length[kept] = length(full) + 1
        names_length += name_length[kept]
        from[kept] = toc + start
        length_of[kept] = end - start
    }
    for (i = 1; i <= patterns; i++) if (!used[i]) fail("no item matches " wanted[i])
}

# Sets to[], the new offset of each item (on a multiple of 16, as ICU wants), and new_end: the ELF headers come first in
# the file, and must know where the data will end.
function place_items(    i, at) {
    at = 4 + 8 * kept + names_length
    for (i = 1; i <= kept; i++) {
        to[i] = align(at, 16)
        at = to[i] + length_of[i]
    }
    new_end = toc + at
}

function write_items(    i, at) {
    print "bytes " shown(kept, 4)
    at = 4 + 8 * kept
    for (i = 1; i <= kept; i++) {
        print "bytes " shown(at, 4) shown(to[i], 4)
        at += name_length[i]
    }
    for (i = 1; i <= kept; i++) print_bytes(name[i], name[i] + name_length[i])
    for (i = 1; i <= kept; i++) {
        print "zeros " to[i] - at
        print "copy " from[i] " " length_of[i]
        at = to[i] + length_of[i]
    }
}

# Places of an ELF program header's fields (Elf32_Phdr and Elf64_Phdr).
function offset_of(header) { return header + word }
function file_size_of(header) { return header + (word == 8 ? 32 : 16) }
function memory_size_of(header) { return header + (word == 8 ? 40 : 20) }
function alignment_of(header) { return header + (word == 8 ? 48 : 28) }

function read_elf(    i) {
    word = byte[4] == 2 ? 8 : 4
    big = byte[5] == 2
    headers = number(word == 8 ? 32 : 28, word)
    header_size = number(word == 8 ? 54 : 42, 2)
    headers_end = headers + header_size * number(word == 8 ? 56 : 44, 2)
    if (headers_end > data) fail("program headers behind the data")
    for (i = headers; i < headers_end; i += header_size) {
        if (number(i, 4) != 1) continue
        if (number(offset_of(i), word) <= data && data < number(offset_of(i), word) + number(file_size_of(i), word)) {
            segment = i
            data_end = number(offset_of(i), word) + number(file_size_of(i), word)
        } else if (number(offset_of(i), word) > data) {
            if (writable) fail("more than one segment behind the data")
            writable = i
        }
    }
    if (!segment || !writable) fail("not the segments of a data library")
    writable_from = number(offset_of(writable), word)
    writable_size = number(file_size_of(writable), word)
    if (writable_from + writable_size > size) fail("a segment does not lie within the file")
}

# The segment of the data shrinks to its new end. What lies behind it moves towards the beginning of the file by whole pages,
# so that every address stays. Prints everything up to the table of contents.
function write_elf_head(    i, offset, page) {
    page = number(alignment_of(writable), word)
    moved = int((writable_from - new_end) / page) * page
    for (i = headers; i < headers_end; i += header_size) {
        offset = number(offset_of(i), word)
        if (i == segment) {
            put(file_size_of(i), word, new_end - offset)
            put(memory_size_of(i), word, new_end - offset)
        } else if (offset >= writable_from && offset < writable_from + writable_size) {
            put(offset_of(i), word, offset - moved)
        } else if (offset >= new_end && number(file_size_of(i), word) > 0) {
            # Unwinding tables of code that never throws, and notes for linkers: their place is gone (PT_NULL).
            put(i, 4, 0)
        }
    }
    # No section headers: they serve linkers and debuggers.
    put(word == 8 ? 40 : 32, word, 0)
    put(word == 8 ? 60 : 48, 2, 0)
    put(word == 8 ? 62 : 50, 2, 0)
    print_bytes(0, headers_end)
    print "copy " headers_end " " toc - headers_end
}

BEGIN {
    count = 0
    patterns = split(keep, wanted, " ")
    if (!patterns) fail("nothing to keep")
    for (i = 1; i <= patterns; i++) {
        pattern[i] = wanted[i]
        gsub(/[.]/, "[.]", pattern[i])
        gsub(/[*]/, ".*", pattern[i])
        pattern[i] = "^" pattern[i] "$"
    }
}

{ for (i = 1; i <= NF; i++) byte[count++] = $i + 0 }

END {
    if (failed) exit 1
    data = find_data()
    is_elf = byte[0] == 127 && byte[1] == 69 && byte[2] == 76 && byte[3] == 70
    big = byte[data + 8]
    data_end = size
    if (is_elf) read_elf()
    read_items()
    place_items()
    if (is_elf) {
        write_elf_head()
        write_items()
        print "zeros " writable_from - moved - new_end
        print "copy " writable_from " " writable_size
    } else {
        print "copy 0 " toc
        write_items()
    }
}
