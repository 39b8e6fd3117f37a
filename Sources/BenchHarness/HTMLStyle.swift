/// The report's style: colours as variables, with a second set for dark screens.
enum HTMLStyle {
    static let text = """

        :root {
          --paper: #ffffff; --ink: #1c2330; --soft: #5b6577; --rule: #d9dee7; --shade: #f4f6f9;
          --own: #1f6feb; --peer: #9aa5b8; --floor: #2f9e66; --whisker: #1c2330; --alarm: #b3261e;
          --c0: #1f6feb; --c1: #d9480f; --c2: #7048c8; --c3: #0b8f8f; --c4: #b58100; --c5: #c2255c; --c6: #2f9e66;
          --c7: #5b6577;
        }
        @media (prefers-color-scheme: dark) {
          :root {
            --paper: #12161d; --ink: #e6eaf1; --soft: #9aa5b8; --rule: #2c3441; --shade: #1a202a;
            --own: #5b9dff; --peer: #667185; --floor: #4cc38a; --whisker: #e6eaf1; --alarm: #ff8a80;
            --c0: #5b9dff; --c1: #ff9a66; --c2: #b197fc; --c3: #4fd1d1; --c4: #e6c14d; --c5: #ff8fb3; --c6: #4cc38a;
            --c7: #9aa5b8;
          }
        }
        body { margin: 0; background: var(--paper); color: var(--ink);
          font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
        main { max-width: 920px; margin: 0 auto; padding: 24px 20px 64px; }
        h1 { font-size: 28px; margin: 0 0 4px; }
        h2 { font-size: 20px; margin: 36px 0 4px; padding-top: 12px; border-top: 1px solid var(--rule); }
        h3 { font-size: 16px; margin: 20px 0 4px; }
        p { margin: 4px 0 10px; }
        .lead, .note, .reason { color: var(--soft); }
        .warning, .exceeded th, .exceeded td { color: var(--alarm); }
        nav { display: flex; flex-wrap: wrap; gap: 4px 14px; margin: 12px 0; }
        a { color: var(--own); text-decoration: none; }
        a:hover { text-decoration: underline; }
        .scroll { overflow-x: auto; }
        table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
        th, td { padding: 4px 8px; text-align: left; border-bottom: 1px solid var(--rule); vertical-align: top; }
        th { font-weight: 500; }
        thead th { color: var(--soft); white-space: nowrap; }
        tbody th { white-space: nowrap; }
        .n { text-align: right; white-space: nowrap; }
        tr.own { background: var(--shade); }
        tr.best th, tr.best td { font-weight: 700; }
        tr.floor th, tr.floor td { color: var(--floor); }
        svg { display: block; max-width: 100%; height: auto; margin: 8px 0 12px; }
        @media (max-width: 500px) { main { padding: 16px 12px 48px; } h1 { font-size: 24px; } }
        svg text { font-size: 12.5px; fill: var(--ink); }
        svg .tick, svg .axis { fill: var(--soft); font-size: 11.5px; }
        .own .bar { fill: var(--own); } .peer .bar { fill: var(--peer); } .floor .bar { fill: var(--floor); }
        svg .own .label, svg .own .value { font-weight: 700; }
        .whisker { stroke: var(--whisker); stroke-width: 1.2; fill: none; }
        .dots { stroke: var(--whisker); stroke-width: 4.5; stroke-linecap: round; stroke-opacity: 0.5; fill: none; }
        .busy { background: var(--alarm); color: var(--paper); padding: 10px 14px; border-radius: 4px; font-weight: 700; }
        details { margin: 6px 0 12px; } summary { color: var(--soft); cursor: pointer; }
        code { font: 12px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
        dt { font-weight: 600; } dd { margin: 0 0 6px; color: var(--soft); }
        #machine + .scroll td { overflow-wrap: anywhere; }
        .grid { stroke: var(--rule); fill: none; }
        .line path { fill: none; stroke-width: 2; }
        .c0 path { stroke: var(--c0); } .c0 circle { fill: var(--c0); }
        .c1 path { stroke: var(--c1); } .c1 circle { fill: var(--c1); }
        .c2 path { stroke: var(--c2); } .c2 circle { fill: var(--c2); }
        .c3 path { stroke: var(--c3); } .c3 circle { fill: var(--c3); }
        .c4 path { stroke: var(--c4); } .c4 circle { fill: var(--c4); }
        .c5 path { stroke: var(--c5); } .c5 circle { fill: var(--c5); }
        .c6 path { stroke: var(--c6); } .c6 circle { fill: var(--c6); }
        .c7 path { stroke: var(--c7); } .c7 circle { fill: var(--c7); }

        """
}
