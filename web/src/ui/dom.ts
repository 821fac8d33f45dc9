/**
 * Builds elements. Text always becomes text nodes, never markup; no style attributes, so that a strict policy holds.
 * Entry points: `h`, `icon`, `setText`, `setAttributes`.
 */
import { ICONS, type IconName } from './icons';

type Child = Node | string | undefined | false;
type Value = string | number | boolean | undefined;
export interface Props {
  [attribute: string]: Value | Record<string, (event: Event) => void> | undefined;
  on?: Record<string, (event: Event) => void>;
}

export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  const { on, ...attributes } = props;
  setAttributes(element, attributes as Record<string, Value>);
  for (const [event, handler] of Object.entries(on ?? {})) element.addEventListener(event, handler);
  for (const child of children) if (child !== undefined && child !== false) element.append(child);
  return element;
}

/** `false` and `undefined` remove an attribute, `true` sets it empty; unchanged ones are left alone. */
export function setAttributes(element: Element, attributes: Record<string, Value>): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) element.removeAttribute(name);
    else {
      const text = value === true ? '' : String(value);
      if (element.getAttribute(name) !== text) element.setAttribute(name, text);
    }
  }
}

export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

const SVG = 'http://www.w3.org/2000/svg';

export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('focusable', 'false');
  for (const d of ICONS[name]) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', d);
    svg.append(path);
  }
  return svg;
}
