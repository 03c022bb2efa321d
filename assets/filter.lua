-- Shared by Quarto and pandoc. A quote with a bold lead ("> **Note.** …") becomes a callout, the curriculum numbers of a heading
-- ("## Stride [T2.8]") become anchors with that name, and a wide table scrolls in a box of its own.

local kinds = { note = "note", warning = "warning", claim = "claim", verdict = "claim", try = "try", exercise = "try" }

local function callout(quote)
  local first = quote.content[1]
  local lead = first and first.t == "Para" and first.content[1]
  if not (lead and lead.t == "Strong") then return nil end
  local word = pandoc.utils.stringify(lead):match("^%a+") or "note"
  first.content[1] = pandoc.Span(lead.content, { class = "hint-lead" })
  return pandoc.Div(quote.content, { class = "hint hint-" .. (kinds[word:lower()] or "note"), role = "note" })
end

local seen = {}

local function tag_numbers(header)
  local anchors = pandoc.Inlines({})
  local inlines = header.content:map(function(inline)
    local number = inline.t == "Str" and inline.text:match("^%[([TWC]%d+%.%d+)%]$")
    if not number then return inline end
    if not seen[number] then
      seen[number] = true
      anchors:insert(pandoc.Span({}, { id = number }))
    end
    return pandoc.Span({ pandoc.Str(number) }, { class = "number" })
  end)
  header.content = inlines
  if #anchors == 0 then return header end
  return { pandoc.Div({ pandoc.Plain(anchors) }, { class = "anchors" }), header }
end

local function box(tbl)
  return pandoc.Div({ tbl }, { class = "table-box" })
end

-- A picture in the text has its text alternative in the brackets. Quarto makes a caption of that and leaves no alternative.
local function alternative(image)
  local said = pandoc.utils.stringify(image.caption)
  if quarto and said ~= "" then
    image.attributes["fig-alt"] = image.attributes["fig-alt"] or image.attributes["alt"] or said
  end
  return image
end

return { { BlockQuote = callout, Header = tag_numbers, Table = box, Image = alternative } }
